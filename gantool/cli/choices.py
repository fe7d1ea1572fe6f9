"""What there is to choose from, for sentences that help: options, and keys of options, read from YAML files."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gantool.cli.words import OPTION
from gantool.config.schema import LISTS
from gantool.config.signature import suggestion

_MANY = 32  # choices that are not listed where a near one is named


def options(group: str, folders: Iterable[Path]) -> list[str]:
    """Names of the YAML files of a group."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def owners(group: str, path: Sequence[str], folders: Iterable[Path]) -> list[str]:
    """The options of a group that have this key."""
    import yaml

    found = []
    for file in sorted(file for folder in folders for file in (folder / group).glob("*.yaml")):
        node = yaml.safe_load(file.read_text("utf-8"))
        for name in path:
            node = node.get(name, ...) if isinstance(node, dict) else ...
        found += [file.stem] if node is not ... else []
    return found


def places(word: str, groups: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Where the options of groups have a key of that name: lr -> optimizer.discriminator.lr, optimizer.generator.lr."""
    import yaml

    found: dict[str, None] = {}
    for group in sorted(groups):
        for file in sorted(file for folder in folders for file in (folder / group).glob("*.yaml")):
            path = f"{group}.{file.stem}" if group in LISTS else group
            found |= dict.fromkeys(below_keys(yaml.safe_load(file.read_text("utf-8")), path, word))
    return sorted(found, key=lambda place: (place.count("."), place))


def below_keys(node: Any, path: str, word: str) -> Iterator[str]:
    """Where in a node, which is at `path`, there is a key of that name."""
    for name, value in node.items() if isinstance(node, dict) else ():
        if name == word:
            yield f"{path}.{name}"
        yield from below_keys(value, f"{path}.{name}", word)


def groups_of(folder: Path, command: str) -> set[str]:
    """Those that a command has, in the defaults list of its YAML or of one that it begins with."""
    import yaml

    found: set[str] = set()
    for named in yaml.safe_load((folder / f"{command}.yaml").read_text("utf-8"))["defaults"]:
        if isinstance(named, dict):
            found |= {key for key in named if not key.startswith("override ")}
        elif named != "_self_":
            found |= groups_of(folder, named)
    return found


def hint(word: str, choices: Collection[str]) -> str:
    """`did you mean 'ema'?; choices: ema, instance_noise`, the choices where they help."""
    small = re.sub("[-_]", "", word.lower())
    same = next((choice for choice in choices if choice.replace("_", "") == small), OPTION.get(small, word))
    hint = suggestion(same if same in choices else word, choices)
    return hint.partition("; choices")[0] if len(choices) > _MANY else hint
