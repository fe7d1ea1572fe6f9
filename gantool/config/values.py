"""Is a value what an annotation asks for? And how is that said in words?

The annotations are those of a signature, as text: int, float, bool, str, Literal, list, tuple, `X | None`, and the
ranges of gantool/game/ranges.py, which are plain numbers to Python and mean something only here.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from gantool.errors import UsageError


class Kind(NamedTuple):
    """A name that an annotation may use."""

    phrase: str
    holds: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


KINDS = {
    "int": Kind("a whole number", _whole),
    "float": Kind("a number", _number),
    "bool": Kind("true or false", lambda value: isinstance(value, bool)),
    "str": Kind("text", lambda value: isinstance(value, str)),
    "None": Kind("null", lambda value: value is None),
    "Any": Kind("anything", lambda value: True),
    "Settings": Kind("settings, KEY=VALUE below it", lambda value: isinstance(value, Mapping)),
    "Share": Kind("a number in [0, 1]", lambda value: _number(value) and 0 <= value <= 1),
    "Decay": Kind("a number in [0, 1)", lambda value: _number(value) and 0 <= value < 1),
    "Positive": Kind("a number > 0", lambda value: _number(value) and value > 0),
    "NonNegative": Kind("a number >= 0", lambda value: _number(value) and value >= 0),
    "Count": Kind("a whole number >= 1", lambda value: _whole(value) and value >= 1),
    "Natural": Kind("a whole number >= 0", lambda value: _whole(value) and value >= 0),
    "Seed": Kind("a whole number in [0, 2**32)", lambda value: _whole(value) and 0 <= value < 2**32),
    "Threads": Kind("a whole number in [1, 1024]", lambda value: _whole(value) and 1 <= value <= 1024),
    "Device": Kind(
        "auto, cpu, cuda, cuda:N or mps",
        lambda value: isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None,
    ),
}


def check_value(key: str, value: Any, annotation: str) -> None:
    """Raise UsageError, in one sentence, unless `value` is what `annotation` (source text) asks for."""
    if value == "???":  # omegaconf's mark for a value that the user must give
        raise UsageError(f"missing value: give {key}=...")
    if not _holds(_read(annotation), value):
        whole = isinstance(value, float) and value.is_integer() and _holds(_read(annotation), int(value))
        instead = f": write {int(value)}" if whole else ""
        raise UsageError(f"{key} must be {phrase(annotation)}, got {_shown(value)}{instead}")


def phrase(annotation: str) -> str:
    """`Count | None` -> `a whole number >= 1 or null`."""
    return _phrase(_read(annotation))


@cache
def _read(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _holds(node: ast.expr, value: Any) -> bool:
    name, items = _parts(node)
    if name == "|":
        return any(_holds(item, value) for item in items)
    if name == "Literal":
        return any(value == choice and type(value) is type(choice) for choice in map(ast.literal_eval, items))
    if name == "list":
        return _listed(value) and all(_holds(items[0], each) for each in value)
    if name == "tuple":
        return _listed(value) and len(value) == len(items) and all(map(_holds, items, value))
    return _kind(node).holds(value)


def _phrase(node: ast.expr) -> str:
    name, items = _parts(node)
    if name == "|":
        return " or ".join(map(_phrase, items))
    if name == "Literal":
        return f"one of {', '.join(str(ast.literal_eval(item)) for item in items)}"
    if name == "list":
        return f"a list (each {_phrase(items[0])})"
    if name == "tuple":
        return f"a list of {len(items)}: {', '.join(map(_phrase, items))}"
    return _kind(node).phrase


def _parts(node: ast.expr) -> tuple[str, list[ast.expr]]:
    """`tuple[A, B]` -> tuple, [A, B]; `A | B` -> |, [A, B]; a plain name has none. `tuple[A, ...]` reads as a list."""
    if isinstance(node, ast.BinOp):
        return "|", [node.left, node.right]
    if not isinstance(node, ast.Subscript):
        return "", []
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    endless = ast.unparse(items[-1]) == "..."
    return ("list", items[:-1]) if endless else (ast.unparse(node.value), items)


def _kind(node: ast.expr) -> Kind:
    """A name of KINDS, or a class (`Schedule`), whose value is a component and is checked as one."""
    name = ast.unparse(node)
    return KINDS.get(name) or Kind(f"a {name} with its _target_", _is_component)


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _shown(value: Any) -> str:
    """As YAML spells it, so that the user recognises what was typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "settings without a _target_" if isinstance(value, Mapping) else repr(value)
