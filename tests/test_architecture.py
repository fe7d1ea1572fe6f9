"""The house keeps its shape: imports run down only, files and functions stay small, nothing heavy loads early."""

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

from gantool.config.reference import read_groups
from gantool.config.schema import conf_dir
from gantool.config.signature import signature

HOUSE = Path(__file__).parents[1] / "gantool"
FLOORS = [
    {"errors"},
    {"game"},
    {"engine", "runs", "measure", "baselines"},
    {"features"},
    {"architectures", "objectives", "tricks", "datasets", "priors", "metrics", "samplers", "loggers", "meta"},
    {"config"},
    {"commands"},
    {"cli"},
    {"__main__", "gantool"},  # the latter is what Python users call, and whose version all may read
]
SHELVES = FLOORS[4]
HEAVY = {"torch", "torchvision", "torch_fidelity", "sklearn", "matplotlib", "scipy", "tensorboard"}


def module(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module(path): path for path in sorted(HOUSE.rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text("utf-8"))


def package(name: str) -> str:
    """gantool.game.types -> game"""
    return (name.split(".") + ["gantool"])[1]


def imports(name: str, early: bool = False) -> set[str]:
    """What a module imports: anywhere, or (`early`) when it is itself imported."""
    found: set[str] = set()
    todo: list[ast.AST] = list(tree(name).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name}: relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(FILES)
            found |= submodules or {node.module}
        elif not (early and is_late(node)):
            todo += ast.iter_child_nodes(node)
    return found


def is_late(node: ast.AST) -> bool:
    """Does what stands below it run after the import, or never?"""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name in FILES and name != "gantool"}


def early_closure(name: str) -> set[str]:
    """Everything that importing a module of ours imports, by name; of other people's packages the top."""
    seen: set[str] = set()
    todo = {name}
    while todo:
        here = todo.pop()
        seen.add(here)
        found = imports(here, early=True)
        seen |= {other.partition(".")[0] for other in found if other not in FILES}
        todo |= ours(found) - seen
    return seen


def test_the_floors_name_every_package():
    assert {package(name) for name in FILES} - {"gantool"} <= set().union(*FLOORS)


@pytest.mark.parametrize("name", FILES)
def test_imports_run_down_only(name):
    floor = {part: level for level, parts in enumerate(FLOORS) for part in parts}
    here = package(name)
    for other in ours(imports(name)):
        there = package(other)
        assert here == there or floor[there] < floor[here], f"{name} imports {other}"
        if here in SHELVES and here != there:
            assert there in ("errors", "game", "runs", "features"), f"{name} imports {other}"


def test_there_are_no_cycles():
    graph = {name: ours(imports(name, early=True)) - {name} for name in FILES}
    while graph:  # peel off what imports nothing that is left
        leaves = {name for name, others in graph.items() if not others & set(graph)}
        assert leaves, f"cycle among {sorted(graph)}"
        graph = {name: others for name, others in graph.items() if name not in leaves}


def test_package_files_are_empty():
    full = {name for name, path in FILES.items() if path.name == "__init__.py" and path.read_text("utf-8").strip()}
    assert full == {"gantool"}
    assert not ours(imports("gantool", early=True))


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name):
    assert len(FILES[name].read_text("utf-8").splitlines()) <= 300


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = function.body[1:] if documented else function.body
    return max(node.end_lineno or 0 for node in body) - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    functions = {
        f"{name}.{node.name}": body_lines(node)
        for name in FILES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > 60} == {}
    assert statistics.median(functions.values()) <= 8


def light() -> set[str]:
    """What the command line imports before a command does its work."""
    commands = {
        name
        for name in FILES
        if package(name) == "commands" and any(getattr(node, "name", "") == "run" for node in tree(name).body)
    }
    config = {name for name in FILES if package(name) == "config"} - {"gantool.config.build", "gantool.config.fit"}
    return commands | config | {name for name in FILES if package(name) in ("cli", "__main__")}


@pytest.mark.parametrize("name", sorted(light()))
def test_nothing_heavy_is_imported_early(name):
    assert early_closure(name) & HEAVY == set()


def test_the_closure_sees_what_is_heavy():
    assert "torch" in early_closure("gantool.config.build")


def test_no_hyperparameter_is_called_like_a_hook():
    hooks = {
        item.name
        for node in tree("gantool.game.hooks").body
        if isinstance(node, ast.ClassDef) and node.name in ("Trick", "Objective")
        for item in node.body
        if isinstance(item, ast.FunctionDef)
    }
    assert {"view", "targets", "d_loss", "latent", "ready"} <= hooks
    groups = {group.name: group for group in read_groups(conf_dir())}
    options = {
        key.path.split(".")[0]
        for group in ("trick", "objective")
        for option in groups[group].options
        for key in option.keys
    }
    assert options & hooks == set()
    classes = [
        f"{name}.{node.name}"
        for name in FILES
        if package(name) in ("tricks", "objectives")
        for node in tree(name).body
        if isinstance(node, ast.ClassDef)
    ]
    assert classes
    for target in classes:
        assert set(signature(target) or {}) & hooks == set(), target
