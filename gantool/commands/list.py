"""`gantool list`: what can be chosen in each group, with one sentence and its source; of one group also the keys."""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gantool.config.reference import Group, Option, read_groups
from gantool.config.schema import conf_dir
from gantool.config.signature import suggestion
from gantool.errors import UsageError


def run(argv: Sequence[str]) -> int:
    args = _arguments(argv)
    folders = [conf_dir(), *args.config_dir]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--config-dir {folder}: there is no such folder")
    groups = read_groups(*folders)
    console = Console(file=sys.stdout, width=shutil.get_terminal_size((110, 24)).columns, highlight=False)
    if args.group is None:
        _show_all(console, groups)
    else:
        _show_one(console, _find(args.group, groups))
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("gantool list", description="What can be chosen in each group of settings.")
    parser.add_argument("group", nargs="?", help="one group, with the keys of its options")
    own = "a folder of options of your own"
    parser.add_argument("--config-dir", "-cd", type=Path, action="append", default=[], metavar="DIR", help=own)
    return parser.parse_args(argv)


def _find(name: str, groups: Iterable[Group]) -> Group:
    by_name = {group.name: group for group in groups}
    if name in by_name:
        return by_name[name]
    for group in by_name.values():
        if any(option.name == name for option in group.options):
            raise UsageError(f"{name!r} is an option of {group.name}: gantool list {group.name}")
    raise UsageError(f"no such group {name!r}\n  {suggestion(name, by_name)}")


def _show_all(console: Console, groups: Iterable[Group]) -> None:
    for group in groups:
        if group.options:
            console.print(_title(group))
            table = _table("name", "sentence", "source")
            for option in group.options:
                table.add_row(Text(option.name, "cyan"), Text(option.sentence), Text(option.source, "dim"))
            console.print(Padding(table, (0, 0, 1, 2), expand=False))
    console.print(Text("gantool list GROUP shows the keys of a group's options.", "dim"))


def _show_one(console: Console, group: Group) -> None:
    console.print(_title(group))
    for option in group.options:
        console.print()
        console.print(Padding(Text.assemble((option.name, "cyan"), "  ", option.sentence), (0, 0, 0, 2), expand=False))
        if option.source:
            console.print(Padding(Text(f"Source: {option.source}", "dim"), (0, 0, 0, 4), expand=False))
        if option.more:
            console.print(Padding(Text(" ".join(option.more)), (0, 0, 0, 4), expand=False))
        if option.keys:
            console.print(Padding(_keys(option), (0, 0, 0, 4), expand=False))
    several = group.default.startswith("[")
    console.print(Text(f"\ngantool {group.command} {group.name}={'[NAME,...]' if several else 'NAME'}", "dim"))


def _title(group: Group) -> Text:
    return Text.assemble((group.name, "bold"), f"  {group.meaning}", (f"  (default: {group.default})", "dim"))


def _keys(option: Option) -> Table:
    table = _table("key", "default", "meaning")
    for key in option.keys:
        meaning = Text.assemble(key.meaning, (f"  ({key.takes})" if key.takes else "", "dim"))
        table.add_row(Text(f"{option.package}.{key.path}"), Text(f"= {key.default}"), meaning)
    return table


def _table(first: str, *others: str) -> Table:
    """No frame, no head; only the first column never wraps."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for _ in others:
        table.add_column(overflow="fold")
    return table
