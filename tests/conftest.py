"""Helpers that several test files use."""

import os
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import hydra
import omegaconf
import pytest
import torch
import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides
from omegaconf import DictConfig, ListConfig, OmegaConf

import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)
from gantool.config.schema import conf_dir
from gantool.engine import precision
from gantool.runs import curves, pictures

Compose = Callable[..., DictConfig]
DRAW, COMPARE, SCATTER = curves.draw, curves.compare, pictures.scatter


@pytest.fixture(scope="session", autouse=True)
def kept_for_all_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Classifiers and the like stay among the tests, and are shared by parallel workers."""
    base = tmp_path_factory.getbasetemp()
    os.environ["GANTOOL_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kept")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_read_twice() -> Iterator[None]:
    """Composing configurations, of some twenty files each, is a third of what the tests do.

    So a text is parsed once, an interpolation too; files that are the same choices of the same groups are merged once;
    and each job of a sweep is composed once, not to see that it can be and then again.
    """
    load, texts = OmegaConf.load, dict[str, dict]()
    compose_job, grammar = ConfigLoaderImpl.load_sweep_config, cache(omegaconf.base.parse)
    choose, merge = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    choices, merged = dict[tuple, DefaultsList](), dict[int, DictConfig]()

    def loaded(file: TextIO) -> DictConfig | ListConfig:
        if not hasattr(file, "read"):
            return load(file)
        text = file.read()
        if text in texts:
            return OmegaConf.create(texts[text])
        file.seek(0)
        config = load(file)
        if isinstance(content := yaml.load(text, omegaconf._utils.get_yaml_loader()), dict):
            texts[text] = content
        return config

    def chosen(repo: Any, config_name: str | None, overrides_list: list, **how: bool) -> DefaultsList:
        sources = [(source.provider, source.path) for source in repo.get_sources()]
        if not all(provider in ("hydra", "main", "schema") for provider, _ in sources):  # a test's own files may change
            return choose(repo, config_name, overrides_list, **how)
        asked = Overrides(repo=repo, overrides_list=overrides_list)
        groups = (asked.override_choices, asked.append_group_defaults, asked.deletions)
        name = (config_name, *map(str, (sources, how, groups)))
        if name not in choices:
            choices[name] = choose(repo, config_name, overrides_list, **how)
        return replace(choices[name], config_overrides=asked.config_overrides)

    def composed(loader: Any, defaults: list, repo: Any) -> DictConfig:
        if not any(known.defaults is defaults for known in choices.values()):
            return merge(loader, defaults, repo)
        if id(defaults) not in merged:
            merged[id(defaults)] = merge(loader, defaults, repo)
        return deepcopy(merged[id(defaults)])

    def job(loader: Any, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        jobs, name = loader.__dict__.setdefault("jobs", {}), tuple(sweep_overrides)
        if name not in jobs:
            jobs[name] = compose_job(loader, master_config, sweep_overrides)
        return deepcopy(jobs[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(loaded))
        patch.setattr(ConfigLoaderImpl, "load_sweep_config", job)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", composed)
        patch.setattr(config_loader_impl, "create_defaults_list", chosen)
        for module in (omegaconf.base, omegaconf._utils):
            patch.setattr(module, "parse", grammar)
        yield


@pytest.fixture(scope="session", autouse=True)
def modules_are_compiled_once() -> None:
    """Processes that tests start would each compile all of gantool anew where this variable forbids to keep it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C; tests that send one expect it to be heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """`device=auto` is the CPU, whatever the machine has; not in modules marked `gpu`, nor under a simulated GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("gpu") is None:
            choose, asked = precision.choose_device, torch.cuda.is_available

            def choose_here(name: str) -> torch.device:
                return choose("cpu" if name == "auto" and torch.cuda.is_available is asked else name)

            patch.setattr(precision, "choose_device", choose_here)
            patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts
        yield


@pytest.fixture(scope="module", autouse=True)
def no_plots() -> Iterator[None]:
    """No curves, and points as two pixels each: matplotlib takes longer than a few steps; see `with_plots`."""

    def pixels(points: torch.Tensor, reference: torch.Tensor | None, path: Path, **lines: Any) -> None:
        if any(each is not None for each in lines.values()):
            SCATTER(points, reference, path, **lines)
        else:
            pictures.grid(points[:, None, None] / 4, 20, path, cell=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gantool.runs.curves.draw", lambda rows, path, title: None)
        patch.setattr("gantool.runs.curves.compare", lambda settings, path: False)
        patch.setattr("gantool.runs.pictures.scatter", pixels)
        yield


@pytest.fixture
def with_plots(no_plots: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """But this test has them."""
    monkeypatch.setattr("gantool.runs.curves.draw", DRAW)
    monkeypatch.setattr("gantool.runs.curves.compare", COMPARE)
    monkeypatch.setattr("gantool.runs.pictures.scatter", SCATTER)


@pytest.fixture
def compose() -> Compose:
    """`compose("objective=wgan_gp", "seed=1")` -> the configuration that the command would run with."""
    return lambda *overrides, command="train": deepcopy(_composed(command, overrides))


@cache
def _composed(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, list(overrides))


@pytest.fixture
def shared_data() -> Path:
    """Real data sets beside the checkout, for those who have them; others skip."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data here")
    return folder
