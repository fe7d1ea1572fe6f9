"""The table of what fits what: every objective beside every trick, architecture and way of using the class.

Nothing is written here by hand: the real YAML files are composed, and gantool.config.fit is asked.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from gantool.config.compose import composed
from gantool.config.schema import conf_dir

Config = Mapping[str, Any]


class Column(NamedTuple):
    """What is chosen beside an objective."""

    title: str
    settings: Config  # group -> what changes in it
    num_classes: int = 10  # of the data
    shape: tuple[int, ...] = (1, 28, 28)  # of an example


@cache
def table() -> list[str]:
    """Lines of Markdown. Takes seconds, and imports torch."""
    refused = {name: _row(composed(f"objective={name}")) for name in _options("objective")}
    titles = [title for title in next(iter(refused.values())) if any(row[title] for row in refused.values())]
    notes: dict[str, int] = {}
    rows = []
    for name, row in refused.items():
        cells = [f"no {_numbers(row[title], notes)}" if row[title] else "yes" for title in titles]
        rows.append(" | ".join([f"| `{name}`", *cells]) + " |")
    head = " | ".join(["| objective", *titles]) + " |"
    everywhere = ", ".join(column.title for column in _columns() if column.title not in titles)
    return [
        head, "|---" * (1 + len(titles)) + "|", *rows, "",
        f"Every objective goes with {everywhere}.", "",
        *(f"{number}. {sentence}" for sentence, number in notes.items()),
    ]  # fmt: skip


def _row(config: Config) -> dict[str, list[str]]:
    """By column title: why it is refused; beside something else, what is refused besides."""
    alone = _refusals(config, Column("", {}))
    more = {
        column.title: [sentence for sentence in _refusals(config, column) if sentence not in alone]
        for column in _columns()
    }
    return {"by itself": alone, **more}


def _numbers(sentences: Iterable[str], notes: dict[str, int]) -> str:
    return "".join(f"({notes.setdefault(sentence, len(notes) + 1)})" for sentence in sentences)


@cache
def _columns() -> list[Column]:
    told = {"class_conditional": True}
    tricks = {name: composed(f"trick=[{name}]")["trick"][name] for name in _options("trick")}
    nets = {name: composed(f"architecture={name}")["architecture"] for name in _options("architecture")}
    return [
        *(Column(f"`{name}`", {"trick": {name: node}}) for name, node in tricks.items()),
        *(Column(f"`{name}`", {"architecture": node}) for name, node in nets.items()),
        Column("`class_conditional`", {"architecture": told}),
        Column("`projection`", {"architecture": told | {"projection": True}}),
        Column("data without classes", {}, num_classes=0),
        Column("points", {}, shape=(2,)),
    ]


def _refusals(config: Config, column: Column) -> list[str]:
    from gantool.config.build import Builder
    from gantool.config.fit import misfits

    changed = {group: {**config.get(group, {}), **change} for group, change in column.settings.items()}
    choice = Builder(budget_steps=1).choice({**config, **changed}, column.shape, column.num_classes)
    return list(misfits(replace(choice, name="this objective")))


def _options(group: str) -> Iterator[str]:
    return (path.stem for path in sorted((conf_dir() / group).glob("*.yaml")))
