"""What can be chosen and set: read from conf/ and the signatures, for `gantool list` and the page conf/README.md.

A YAML file documents itself: its first comment line is `# Sentence. Source: paper.`, a comment after a value is its
meaning. `python -m gantool.config.reference` rewrites the generated parts of the page; `--check` only says whether
they are stale.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from gantool.config import compatibility, schema
from gantool.config.signature import OPTIMIZER, signature
from gantool.config.values import phrase
from gantool.errors import RunError, UsageError

SCHEMA = schema.__name__
MARKS = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Key(NamedTuple):
    path: str  # below the file's package: generator.hidden
    takes: str  # in words
    default: str  # as the YAML spells it
    meaning: str


class Option(NamedTuple):
    name: str
    package: str  # what the command line writes before its keys: objective, trick.ema
    sentence: str
    source: str
    more: list[str]  # sentences below that: what an objective lowers, what a recipe reaches
    keys: list[Key]


class Group(NamedTuple):
    name: str
    command: str  # which has it
    meaning: str
    default: str
    options: list[Option]


def read_groups(*folders: Path) -> list[Group]:
    """Every group that a command's defaults name, in their order, with the options found in the folders."""
    groups: dict[str, Group] = {}
    for path in _commands():
        for name, default, meaning in groups_of(path):
            if name not in groups:
                files = [file for folder in folders for file in sorted((folder / name).glob("*.yaml"))]
                chosen = {file.stem: file for file in reversed(files)}  # ours hide a user's of the same name
                options = [read_option(name, file) for file in files if chosen[file.stem] is file]
                groups[name] = Group(name, path.stem, meaning, default, options)
    return list(groups.values())


def read_option(group: str, path: Path) -> Option:
    text = path.read_text("utf-8")
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    package = next((line.removeprefix("@package ") for line in comments if line.startswith("@package ")), group)
    first, *more = [line for line in comments if not line.startswith("@")] or [""]
    sentence, _, source = first.partition(" Source: ")
    recipe = package == "_global_"  # an experiment: it sets keys of others
    keys = [] if recipe else _keys(path, _section(f"{SCHEMA}.Train", group))
    return Option(path.stem, package, sentence, source.removesuffix("."), more, keys)


def read_command(path: Path) -> list[Key]:
    """The keys at the root of conf/<command>.yaml."""
    return _keys(path, f"{SCHEMA}.{path.stem.capitalize()}")


def _commands() -> list[Path]:
    """train first: what it shares with others is told once, there."""
    return sorted(schema.conf_dir().glob("*.yaml"), key=lambda path: (path.stem != "train", path.stem))


def _keys(path: Path, target: str | None) -> list[Key]:
    text = path.read_text("utf-8")
    try:
        return list(_walk(text, _compose(text), "", target))
    except (yaml.YAMLError, UsageError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error


def _compose(text: str) -> yaml.MappingNode:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise UsageError("must hold `key: value` lines")
    return node


def groups_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of the groups in a command's defaults list."""
    text = path.read_text("utf-8")
    for key, value in _compose(text).value:
        if key.value == "defaults":
            for item in value.value:
                if isinstance(item, yaml.MappingNode):
                    ((name, default),) = item.value
                    if not name.value.startswith(("override", "/")):
                        yield name.value, _source(text, default), _comment(text, default)


def _walk(text: str, node: yaml.MappingNode, prefix: str, target: str | None) -> Iterator[Key]:
    children = {key.value: value for key, value in node.value}
    target = children["_target_"].value if "_target_" in children else target
    for name, value in children.items():
        if name == "defaults":
            yield from _chosen_parts(text, value)
        if name in ("_target_", "defaults", "hydra"):
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(text, value, f"{prefix}{name}.", _section(target, name))
        else:
            yield Key(prefix + name, _takes(target, name), _source(text, value), _comment(text, value))


def _chosen_parts(text: str, defaults: yaml.Node) -> Iterator[Key]:
    """`- /objective@base: hinge  # meaning`: a key whose value is an option of a group."""
    for item in defaults.value:
        if isinstance(item, yaml.MappingNode):
            ((name, default),) = item.value
            found = re.fullmatch(r"/(\w+)@(\w+)", name.value)
            if found:
                takes = f"the name of an option of {found[1]}"
                yield Key(found[2], takes, _source(text, default), _comment(text, default))


def _section(target: str | None, name: str) -> str | None:
    """The class of schema.py that the settings below a key follow (`best: Best`), if they bring no `_target_`."""
    fields = signature(target) if target else None
    annotation = fields[name].annotation if fields and name in fields else ""
    return f"{SCHEMA}.{annotation}" if is_dataclass(getattr(schema, annotation, None)) else None


def _takes(target: str | None, name: str) -> str:
    fields = signature(target) if target else None
    annotation = fields[name].annotation if fields and name in fields else OPTIMIZER.get(name)
    return phrase(annotation).removeprefix("a ") if annotation else ""


def _source(text: str, node: yaml.Node) -> str:
    return text[node.start_mark.index : node.end_mark.index].strip()


def _comment(text: str, node: yaml.Node) -> str:
    rest = text[node.end_mark.index :].partition("\n")[0]
    return rest.partition("#")[2].strip()


# The page


def page(text: str) -> str:
    """The page with its generated parts renewed; the rest is written by hand."""
    parts: dict[str, Callable[[], Iterable[str]]] = {
        "commands": _command_tables,
        "groups": _group_tables,
        "compatibility": compatibility.table,
    }
    return MARKS.sub(lambda found: f"{found[1]}\n" + "\n".join(parts[found[2]]()) + f"\n{found[3]}", text)


def _command_tables() -> Iterator[str]:
    for path in _commands():
        yield from (f"### `gantool {path.stem}`", "", *_key_table("", read_command(path)), "")


def _group_tables() -> Iterator[str]:
    for group in read_groups(schema.conf_dir()):
        yield from (f"### `{group.name}`: {group.meaning}", "", f"Default: `{group.default}`.", "")
        yield from ("| option | what it is | source |", "|---|---|---|")
        for option in group.options:
            yield f"| `{option.name}` | {_cell(option.sentence)} | {_cell(option.source)} |"
        yield ""
        if group.name == "objective":
            yield from (f"- `{option.name}`: {' '.join(option.more)}" for option in group.options)
            yield ""
        for option in group.options:
            if option.keys:
                yield from (f"**`{group.name}={option.name}`**", "", *_key_table(f"{option.package}.", option.keys), "")


def _key_table(prefix: str, keys: Iterable[Key]) -> Iterator[str]:
    yield from ("| key | takes | default | meaning |", "|---|---|---|---|")
    for key in keys:
        yield f"| `{prefix}{key.path}` | {_cell(key.takes)} | `{_cell(key.default)}` | {_cell(key.meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(argv: list[str], path: Path | None = None) -> int:
    path = path or schema.conf_dir() / "README.md"
    text = path.read_text("utf-8")
    new = page(text)
    if "--check" in argv and new != text:
        raise RunError(f"{path} is stale: run `make reference`")
    if new != text:
        path.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RunError, UsageError) as error:
        sys.exit(str(error))
