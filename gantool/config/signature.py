"""A component's constructor is its schema: read from the source text, checked before anything is imported or made.

`real: Share = 0.9` in a class says what may stand under its name in a configuration. Reading it with `ast` keeps torch
out of the command line, and leaves no second description that could drift from the first.
"""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gantool.config.schema import FACTS
from gantool.config.values import KINDS, check_value
from gantool.errors import UsageError

HOUSE = Path(__file__).parents[1]

# What torch's optimisers take, as far as it is worth checking before torch is imported. The rest is left to build.
OPTIMIZER = {
    "lr": "Positive",
    "betas": "tuple[Decay, Decay]",
    "eps": "Positive",
    "weight_decay": "NonNegative",
    "momentum": "Decay",
    "dampening": "Share",
    "alpha": "Decay",
    "amsgrad": "bool",
    "nesterov": "bool",
    "centered": "bool",
}


class Field(NamedTuple):
    """One argument of a constructor."""

    name: str
    annotation: str  # as written in the source; "Any" where there is none
    default: Any = None  # a Python value; the source text where it is not a literal
    required: bool = False


def signature(target: str) -> dict[str, Field] | None:
    """The arguments of the class at a dotted path; None outside gantool, whose source is not ours to read."""
    module, _, name = target.rpartition(".")
    if module.partition(".")[0] != "gantool":
        return None
    tree = _parse(module)
    node = next((item for item in _classes(tree) if item.name == name), None)
    if node is None:
        raise UsageError(f"there is no class {target!r}; `gantool list` shows what there is")
    return _arguments(node, tree, module)


def check_component(key: str, node: Mapping[str, Any], facts: Collection[str] = ()) -> None:
    """Raise UsageError unless `node` (a `_target_` and its arguments) is what the class asks for.

    `facts` are arguments that are known at run time only (shape, say): never in a configuration, never missing.
    """
    check_value(f"{key}._target_", _mapping(key, node).get("_target_"), "str")
    given = {name: value for name, value in node.items() if name != "_target_"}
    fields = _fields(node["_target_"], facts)
    for name, value in given.items():
        path = f"{key}.{name}"
        if fields is not None and name not in fields:
            raise unknown_key(path, fields)
        if isinstance(value, Mapping) and "_target_" in value:
            check_component(path, value, facts)
        else:
            check_value(path, value, _annotation(node["_target_"], fields, name))
    _check_present(f"{key}.", given, fields or {})


def check_root(cfg: Mapping[str, Any], schema: type) -> None:
    """Raise UsageError unless a composed configuration is what a class of schema.py says, groups included."""
    _check_section("", cfg, schema.__module__, schema.__qualname__)


def check_saved(cfg: Mapping[str, Any], schema: type, file: Path) -> None:
    """The same of a configuration that a run has saved, perhaps before there were all of today's keys."""
    fields = signature(f"{schema.__module__}.{schema.__qualname__}") or {}
    for key in cfg.keys() & fields.keys():
        try:
            _check_key(key, cfg[key], schema.__module__, fields[key].annotation)
        except UsageError as error:
            raise UsageError(f"{file} was changed, and no run can have it so: {error}") from error


def _check_section(prefix: str, cfg: Mapping[str, Any], module: str, name: str) -> None:
    fields = signature(f"{module}.{name}") or {}
    for key, value in cfg.items():
        if key not in fields:
            raise _placeless(key, "_global_") if key == "experiment" else unknown_key(f"{prefix}{key}", fields)
        _check_key(f"{prefix}{key}", value, module, fields[key].annotation)
    _check_present(prefix, cfg, fields)


def _check_key(path: str, value: Any, module: str, annotation: str) -> None:
    if annotation == "Component":
        check_component(path, value, FACTS)
    elif annotation == "Component | None":
        _check_optional(path, value)
    elif annotation == "Components":
        _check_components(path, value)
    elif annotation in {item.name for item in _classes(_parse(module))}:
        _check_section(f"{path}.", _mapping(path, value), module, annotation)
    else:
        check_value(path, value, annotation)


def _check_optional(group: str, node: Any) -> None:
    if node is None or node == {}:  # not selected; or it was by an experiment, and is dropped
        return
    if "_target_" not in _mapping(group, node):
        raise UsageError(
            f"{group} has settings ({', '.join(node)}) but no option of it is selected: give {group}=..., or drop them "
            f"with {' '.join(f'~{group}.{name}' for name in node)}"
        )
    check_component(group, node, FACTS)


def _check_components(group: str, chosen: Mapping[str, Any] | None) -> None:
    if "_target_" in _mapping(group, chosen or {}):
        raise _placeless(group, f"{group}.NAME")
    for option, node in (chosen or {}).items():
        if "_target_" not in _mapping(f"{group}.{option}", node):
            raise UsageError(
                f"{group}.{option}: has settings ({', '.join(node)}) but is not selected; "
                f"add it to {group}=[...] or drop it with '~{group}.{option}'"
            )
        check_component(f"{group}.{option}", node, FACTS)


def _placeless(group: str, package: str) -> UsageError:
    name = ", NAME as the file is called" if "NAME" in package else ""
    return UsageError(f"an option of {group} must have `# @package {package}` as the first line of its file{name}")


def _check_present(prefix: str, given: Collection[str], fields: Mapping[str, Field]) -> None:
    for field in fields.values():
        if field.required and field.name not in given:
            raise UsageError(f"missing value: give {prefix}{field.name}=...")


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{path} holds settings of its own: set {path}.KEY=..., not {path} itself")
    return value


def check_loaded(key: str, maker: type, options: Mapping[str, Any]) -> None:
    """The same ranges for a class of the user's own, which is imported by now; what gantool has no name for passes."""
    for name, text in _annotations(maker).items():
        if name in options and text.removesuffix(" | None") in KINDS:
            check_value(f"{key}.{name}", options[name], text)


@cache
def _annotations(maker: type) -> dict[str, str]:
    """Annotations of the constructor as they are written: a range is lost when Python evaluates its alias."""
    if is_dataclass(maker):
        classes = [node for base in reversed(maker.__mro__) if isinstance(node := _source(base), ast.ClassDef)]
        return {field.name: field.annotation for node in classes for field in _dataclass_fields(node)}
    node = _source(maker.__init__)  # type: ignore[misc]
    return (
        {field.name: field.annotation for field in _parameters(node.args)} if isinstance(node, ast.FunctionDef) else {}
    )


def _source(written: Any) -> ast.AST | None:
    """None where there is none to read."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(written))).body[0]
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return None


def unknown_key(path: str, choices: Iterable[str]) -> UsageError:
    return UsageError(f"unknown key {path!r}\n  {suggestion(path.rpartition('.')[2], choices)}")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`did you mean 'ema'?; choices: ema, instance_noise`"""
    choices = sorted(choices)
    near = difflib.get_close_matches(word, choices, n=1)
    hints = [f"did you mean {near[0]!r}?"] if near else []
    return "; ".join([*hints, f"choices: {', '.join(choices) or '(none)'}"])


def _fields(target: str, facts: Collection[str]) -> dict[str, Field] | None:
    fields = signature(target)
    return fields and {name: field for name, field in fields.items() if name not in facts}


def _annotation(target: str, fields: Mapping[str, Field] | None, name: str) -> str:
    if fields is not None:
        return fields[name].annotation
    return OPTIMIZER.get(name, "Any") if target.startswith("torch.optim.") else "Any"


@cache
def _parse(module: str) -> ast.Module:
    names = module.split(".")
    path = HOUSE.joinpath(*names[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if all(map(str.isidentifier, names)) and file.is_file():
            return ast.parse(file.read_text("utf-8"))
    raise UsageError(f"there is no module {module!r}; `gantool list` shows what there is")


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [item for item in tree.body if isinstance(item, ast.ClassDef)]


def _arguments(node: ast.ClassDef, tree: ast.Module, module: str) -> dict[str, Field]:
    """Of its own `__init__`, of its fields if it is a dataclass, else of its base."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return {field.name: field for field in _parameters(item.args)}
    inherited = _inherited(node, tree, module)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return inherited | {field.name: field for field in _dataclass_fields(node)}
    return inherited


def _inherited(node: ast.ClassDef, tree: ast.Module, module: str) -> dict[str, Field]:
    """The first base of ours decides; a class with foreign bases only (nn.Module) takes no arguments."""
    local = {item.name: item for item in _classes(tree)}
    imported = {
        alias.asname or alias.name: f"{item.module}.{alias.name}"
        for item in tree.body
        if isinstance(item, ast.ImportFrom) and (item.module or "").startswith("gantool")
        for alias in item.names
    }
    for base in map(ast.unparse, node.bases):
        if base in local:
            return _arguments(local[base], tree, module)
        head, dot, rest = base.partition(".")  # `Base`, or `networks.Base` of an imported module
        if head in imported:
            return signature(f"{imported[head]}{dot}{rest}") or {}
    return {}


def _parameters(args: ast.arguments) -> Iterable[Field]:
    positional = [*args.posonlyargs, *args.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    for arg, default in zip(positional, [*missing, *args.defaults], strict=True):
        if arg is not positional[0]:  # self
            yield _field(arg.arg, arg.annotation, default)
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _field(arg.arg, arg.annotation, default)


def _dataclass_fields(node: ast.ClassDef) -> Iterable[Field]:
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or ast.unparse(item.annotation).startswith("ClassVar"):
            continue
        if isinstance(item.target, ast.Name):
            yield _field(item.target.id, item.annotation, item.value)


def _field(name: str, annotation: ast.expr | None, default: ast.expr | None) -> Field:
    text = ast.unparse(annotation) if annotation else "Any"
    if default is None:
        return Field(name, text, required=True)
    try:
        return Field(name, text, ast.literal_eval(default))
    except ValueError:
        return Field(name, text, ast.unparse(default))
