"""What is told of a sweep: its table, on standard output and in files."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from gantool.runs.folder import write_atomically
from gantool.runs.sweep import Summary

WIDE = 100_000  # characters: where nobody looks at lines, none is broken
_NAMED = 4  # jobs with the same fate that are named before it says how many more there are


def write(summary: Summary) -> None:
    """summary.json and summary.md, in the sweep's folder."""
    folder = Path(summary.folder)
    text = json.dumps(asdict(summary) | {"done": summary.done}, indent=2, ensure_ascii=False) + "\n"
    for name, content in (("summary.json", text), ("summary.md", markdown(summary))):
        write_atomically(folder / name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]


def markdown(summary: Summary) -> str:
    heading, *rows = summary.cells()
    table = [heading, ["---"] * len(heading), *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    return "\n".join([f"# {summary.folder}", "", *lines, "", "```", *tail(summary), "```", ""])


def tail(summary: Summary) -> list[str]:
    """Below the table: the counts, who failed and why, and what to do."""
    lines = [f"sweep {summary.folder}: {summary.done} done, {len(summary.not_done)} not done"]
    reasons: dict[tuple[str, str], list[str]] = {}
    for job in summary.not_done:
        reasons.setdefault((job.state, " ".join(job.message.split())), []).append(job.name)
    for (state, message), names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"  {state:12}{', '.join(names[:_NAMED])}{more}")
        lines += [f"  {'':12}{message}"] if message else []
    lines += ["  stopped: jobs that had not begun are not listed"] if summary.stopped else []
    lines += ["  not measured alike:", *(f"    {line}" for line in summary.unlike)] if summary.unlike else []
    unfinished = summary.not_done or summary.stopped
    return lines + ([f"  run the rest again: {summary.again}"] if summary.again and unfinished else [])


def show(summary: Summary) -> None:
    """The table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading, *rows = summary.cells()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(heading):
        table.add_column(name, justify="right" if number else "left", overflow="ellipsis" if number else "fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    console.print(table)
    for line in tail(summary):
        console.print(Text(line), soft_wrap=True)
