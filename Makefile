# Every target works from a bare clone, again and again, and offline once the packages are installed.
#   make demo PYTHON=python3.12 VENV=/somewhere/else

VENV ?= .venv
PYTHON ?=
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))
ARGS ?=

BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint format types reference results performance metrics clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## install gantool, then train on the digits that come with it: minutes on two CPU cores
	@$(BIN)/gantool train experiment=demo

test: $(VENV)/.installed-dev ## run the tests; ARGS="-k name" picks some, ARGS="-m slow" the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## put style and formatting right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## check the types of gantool/
	@$(BIN)/mypy

reference: $(VENV)/.installed ## renew the generated tables of conf/README.md
	@$(BIN)/python -m gantool.config.reference

results: $(VENV)/.installed ## train every experiment that states a figure, and write outputs/RESULTS.md; ARGS="NAME ..." picks some
	@$(BIN)/gantool results $(ARGS)

performance: $(VENV)/.installed ## measure the speed, under ten minutes, into outputs/PERFORMANCE.md; ARGS="SECTION ..." picks some
	@$(BIN)/python -m gantool.commands.performance $(ARGS)

metrics: $(VENV)/.installed ## show how each metric moves under blur, noise, missing classes and copies, into outputs/METRICS.md
	@$(BIN)/python -m gantool.commands.corruptions $(ARGS)

clean: ## remove caches and build output; runs, data and the environment stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
	@find gantool tests -name __pycache__ -type d -exec rm -rf {} +

# An environment that has everything already is used as it is; otherwise pip fetches what is missing, once, and all cores
# compile it, where pip has but one do so. The two build packages are there so that a changed pyproject.toml can be
# installed offline too.
define install
	@$(BIN)/python -m pip install --quiet --no-index --no-build-isolation --editable '.$(1)' >/dev/null 2>&1 \
	|| { echo "installing gantool$(1) into $(VENV); this downloads PyTorch if it is not there yet" >&2; \
	     $(BIN)/python -m pip install --disable-pip-version-check --no-compile hatchling editables --editable '.$(1)' || exit 1; \
	     $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true; }
	@touch $@
endef

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(call install,)

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(call install,[dev])
	@touch $(VENV)/.installed

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	    if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	echo "gantool needs Python 3.11 or newer with its venv module; install one, or name it: make demo PYTHON=/path/to/python3" >&2; \
	exit 1
