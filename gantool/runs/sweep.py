"""What became of a sweep: one row a setting, its seeds folded into mean and standard deviation."""

import json
import math
import re
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gantool.errors import UsageError
from gantool.runs import status
from gantool.runs.folder import RunFolder, runs_below, write_atomically
from gantool.runs.resume import key_of
from gantool.runs.rows import results

_NAMED = 4  # jobs with the same fate that are named before it says how many more there are


@dataclass
class Job:
    name: str  # of its folder, below the sweep's
    state: str
    overrides: list[str]
    row: dict[str, float]  # losses and metrics of the last row of metrics.jsonl
    message: str  # why it is not done


@dataclass
class Figure:
    """A column of a setting, over its seeds that are done."""

    mean: float
    sd: float | None  # of the sample; None for a single seed

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.sd is None else f" ± {self.sd:.2g}")


@dataclass
class Setting:
    """Jobs that differ in their seed only."""

    name: str
    done: int
    jobs: int
    figures: dict[str, Figure]


@dataclass
class Summary:
    folder: str
    again: str  # the command that runs what is not done; empty where there is none
    stopped: bool  # before all jobs had begun?
    settings: list[Setting]
    not_done: list[Job]

    @property
    def done(self) -> int:
        return sum(setting.done for setting in self.settings)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for setting in self.settings for name in setting.figures))

    def cells(self) -> list[list[str]]:
        """The table, its heading first."""
        rows = [["setting", "done", *self.columns]]
        for one in self.settings:
            figures = (str(one.figures.get(name, "")) for name in self.columns)
            rows.append([one.name, f"{one.done}/{one.jobs}", *figures])
        return rows


def summarise(folder: Path, mark: str, again: str, stopped: bool = False) -> Summary:
    """Read the jobs that the call `mark` of this sweep has run or passed over."""
    told = ((one, _facts(one, mark)) for one in runs_below(folder, besides=()))
    ours = (_job(folder, one, facts) for one, facts in told if facts.get("launch") == mark)
    jobs = sorted(ours, key=lambda job: _natural(job.name))
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if jobs else set()
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        own = [override for override in job.overrides if override not in shared and key_of(override) != "seed"]
        groups.setdefault(" ".join(own) or "as given", []).append(job)
    settings = [_fold(name, group) for name, group in groups.items()]
    return Summary(str(folder), again, stopped, settings, [job for job in jobs if job.state != "done"])


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
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    for line in tail(summary):
        console.print(Text(line), soft_wrap=True)


def _natural(name: str) -> list[tuple[str, int]]:
    """As a key: batch_size-8 stands before batch_size-16."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _facts(folder: RunFolder, mark: str) -> dict[str, Any]:
    """A job's status; one that cannot be read counts as failed in this call."""
    try:
        return status.read(folder) | {"state": status.state_of(folder)}
    except UsageError as error:
        return {"launch": mark, "state": "failed", "error": str(error)}


def _job(sweep: Path, folder: RunFolder, facts: dict[str, Any]) -> Job:
    message = str(facts.get("error") or facts.get("reason") or "")
    name = str(folder.root.relative_to(sweep))
    return Job(name, facts["state"], list(facts.get("overrides") or ()), results(facts.get("last") or {}), message)


def _fold(name: str, jobs: list[Job]) -> Setting:
    done = [job for job in jobs if job.state == "done"]
    values: dict[str, list[float]] = {}
    for job in done:
        for column, value in job.row.items():
            if math.isfinite(value):
                values.setdefault(column, []).append(value)
    return Setting(name, len(done), len(jobs), {column: _figure(numbers) for column, numbers in values.items()})


def _figure(numbers: list[float]) -> Figure:
    return Figure(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None)
