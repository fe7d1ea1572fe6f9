"""gantool runs: what was trained below a folder, as a table."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from gantool.errors import UsageError
from gantool.runs import status
from gantool.runs.folder import RunFolder, ending, runs_below
from gantool.runs.rows import results
from gantool.runs.text import count, duration, played

if TYPE_CHECKING:
    from rich.padding import Padding
    from rich.text import Text

_HEADINGS = (
    "run",
    "status",
    "dataset",
    "architecture",
    "objective",
    "tricks",
    "step",
    "images",
    "last metrics",
    "time",
)
_COLOURS = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red"}  # others yellow
_SORTABLE = {
    name: name for name in ("run", "dataset", "architecture", "objective", "tricks", "started", "step", "images")
}
_SORTABLE |= {"status": "state", "time": "seconds"}  # as headed -> as status.json has it
REASON = 80  # characters of why a run failed
_WRAPPED = {"run": 40, "tricks": 16, "last metrics": 32}  # the widths at which a table's cells take another line


def run(argv: list[str]) -> int:
    """Print the runs below a folder, oldest start first."""
    arguments = _parser().parse_args(argv)
    base = Path(arguments.folder)
    if arguments.folder != "outputs" and not base.is_dir():
        raise UsageError(f"{base} is not a folder: name one that holds runs")
    if arguments.curves:
        _draw(base, ending(Path(arguments.curves), ".png"))
        return 0
    runs = _sorted([_facts(folder, base) for folder in runs_below(base)], arguments.sort, arguments.reverse)
    if arguments.json:
        print(json.dumps(runs, indent=2, ensure_ascii=False))
    elif not runs:
        print(f"There are no runs below {base}/ yet. gantool train makes one.")
    elif not sys.stdout.isatty():
        _print_plain(runs)
    else:
        _print_rich(runs)
    return 0


def _draw(base: Path, picture: Path) -> None:
    from gantool.runs import curves, sweep

    if not curves.compare(sweep.courses_below(base), picture):
        raise UsageError(f"no run below {base}/ has any numbers yet: gantool train writes them")
    print(picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gantool runs",
        description="List the runs below a folder: status, what was trained, how far, the last metrics, the time.",
        epilog="A path in the first column is what run= and resume= accept, as is 'latest'.",
    )
    parser.add_argument(
        "folder", nargs="?", default="outputs", metavar="FOLDER", help="where to look (default: outputs)"
    )
    parser.add_argument(
        "--sort",
        default="started",
        metavar="COLUMN",
        help=f"{', '.join(_SORTABLE)}, or a metric such as g_loss; runs without it come last (default: started)",
    )
    parser.add_argument("--reverse", action="store_true", help="the greatest first; runs without it still come last")
    parser.add_argument(
        "--curves", metavar="FILE", help="draw all runs into one picture, runs that differ in their seed as one line"
    )
    parser.add_argument("--json", action="store_true", help="print every run's status.json as one JSON list")
    return parser


def _facts(folder: RunFolder, base: Path) -> dict[str, Any]:
    """A run's status.json, with the path below `base` and the state as it is now."""
    name = str(folder.root.relative_to(base)) if folder.root != base else str(base)
    try:
        return {"run": name} | status.read(folder) | {"state": status.state_of(folder)}
    except UsageError as error:  # one damaged file must not hide the other runs
        return {"run": name, "state": "unreadable", "error": str(error)}


def _sorted(runs: list[dict[str, Any]], column: str, reverse: bool) -> list[dict[str, Any]]:
    metrics = sorted({name for one in runs for name in _last(one)})
    if column not in (*_SORTABLE, *metrics):
        raise UsageError(f"cannot sort by {column!r}: choose one of {', '.join(dict.fromkeys((*_SORTABLE, *metrics)))}")
    values = [(one, one.get(_SORTABLE[column]) if column in _SORTABLE else _last(one).get(column)) for one in runs]
    known = [(one, value) for one, value in values if value is not None]
    known.sort(key=lambda pair: _sort_key(pair[1]), reverse=reverse)
    return [one for one, _ in known] + [one for one, value in values if value is None]


def _sort_key(value: Any) -> tuple[float, str]:
    return (value, "") if isinstance(value, int | float) else (0.0, str(value))


def _last(one: dict[str, Any]) -> dict[str, Any]:
    """The last row of metrics.jsonl, as the status keeps it."""
    row = one.get("last")
    return row if isinstance(row, dict) else {}


def _cells(one: dict[str, Any]) -> list[str]:
    """One text a heading."""
    tricks = one.get("tricks")
    tricks = ", ".join(map(str, tricks)) if isinstance(tricks, list | dict) else tricks
    words = [one["run"], one["state"], one.get("dataset"), one.get("architecture"), played(one), tricks]
    step, images = _number(one, "step", count), _number(one, "images", count)
    return [str(cell or "-") for cell in [*words, step, images, _metrics(one), _number(one, "seconds", duration)]]


def _number(one: dict[str, Any], name: str, written: Callable[[float], str]) -> str:
    value = one.get(name)
    return written(value) if isinstance(value, int | float) else ""


def _metrics(one: dict[str, Any]) -> str:
    """Both losses and every metric, not what D said in between; for a run that failed, why."""
    if one["state"] in ("failed", "diverged", "unreadable") and (one.get("error") or one.get("reason")):
        return shorten(str(one.get("error") or one.get("reason")), REASON, placeholder=" ...")
    return ", ".join(f"{name} {value:.3g}" for name, value in results(_last(one)).items())


def _print_plain(runs: list[dict[str, Any]]) -> None:
    """A line a run, nothing cut: for pipes and files."""
    lines = [[*map(str, _HEADINGS)], *(_cells(one) for one in runs)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(runs: list[dict[str, Any]]) -> None:
    """A table if it fits the terminal, else a few lines a run."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        right = heading in ("step", "images", "time")
        table.add_column(
            heading, justify="right" if right else "left", max_width=_WRAPPED.get(heading), overflow="fold"
        )
    for one in runs:
        texts = [Text(cell) for cell in _cells(one)]
        texts[1].stylize(_COLOURS.get(one["state"], "yellow"))
        table.add_row(*texts)
    if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
        console.print(table)
    else:
        for one in runs:
            console.print(*_block(one), sep="\n")


def _block(one: dict[str, Any]) -> list["Text | Padding"]:
    from rich.padding import Padding
    from rich.text import Text

    run, state, dataset, architecture, objective, tricks, step, images, metrics, time = _cells(one)
    facts = [dataset, architecture, objective, tricks, f"step {step}", f"{images} images", time]
    known = ", ".join(fact for fact in facts if "-" not in fact.split())
    lines = [Text(known)] if known else []
    lines += [Text(metrics, style="dim")] if metrics != "-" else []
    head = Text.assemble((run, "bold"), "  ", (state, _COLOURS.get(state, "yellow")))
    return [head, *(Padding(line, (0, 0, 0, 4)) for line in lines)]
