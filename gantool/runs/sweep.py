"""What became of a sweep: one row a setting, its seeds folded into mean and standard deviation."""

import hashlib
import json
import logging
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantool.errors import Busy, UsageError
from gantool.runs import status
from gantool.runs.call import Call
from gantool.runs.folder import RunFolder, runs_below
from gantool.runs.resume import key_of, read_config
from gantool.runs.rows import kind, read, results

log = logging.getLogger(__name__)


@dataclass
class Job:
    name: str  # of its folder, below the sweep's
    state: str
    overrides: list[str]
    row: dict[str, float]  # losses and metrics of the last row of metrics.jsonl
    message: str  # why it is not done
    group: str = ""  # of jobs that differ in their seed only; empty = as their own settings say
    measured: dict[str, Any] = field(default_factory=dict)  # what the metrics of `row` depend on
    own: str = ""  # settings that not all jobs have


@dataclass
class Figure:
    """A column of a setting, over its seeds that are done."""

    mean: float | None  # None where no job has one
    sd: float | None  # of the sample; None for a single seed
    jobs: int  # that have a finite number

    def __str__(self) -> str:
        if self.mean is None:
            return "not finite"
        return f"{self.mean:.4g}" + ("" if self.sd is None else f" ± {self.sd:.2g}")


@dataclass
class Setting:
    """Jobs that differ in their seed only."""

    name: str
    done: int
    jobs: int
    figures: dict[str, Figure]
    runs: list[str] = field(default_factory=list)  # names of those that are done

    def cell(self, column: str) -> str:
        figure = self.figures.get(column)
        if figure is None:
            return ""
        some = 0 < figure.jobs < self.done
        return f"{figure} ({figure.jobs} of {self.done})" if some else str(figure)


@dataclass
class Summary:
    folder: str
    again: str  # the command that runs what is not done; empty where there is none
    stopped: bool  # before all jobs had begun?
    settings: list[Setting]
    not_done: list[Job]
    unlike: list[str] = field(default_factory=list)  # on what metrics depend that were not measured alike

    @property
    def done(self) -> int:
        return sum(setting.done for setting in self.settings)

    @property
    def columns(self) -> list[str]:
        """Metrics, then losses; what is best of one stands beside its last."""
        found = dict.fromkeys(name for setting in self.settings for name in setting.figures)
        return sorted(found, key=lambda name: kind(name.split(" ")[0]) == "loss")

    def cells(self) -> list[list[str]]:
        """The table, its heading first."""
        rows = [["setting", "done", *self.columns]]
        for one in self.settings:
            rows.append([one.name, f"{one.done}/{one.jobs}", *map(one.cell, self.columns)])
        return rows


def summarise(folder: Path, mark: str, again: str, stopped: bool = False) -> Summary:
    """Read the jobs that the call `mark` of this sweep has run, passed over or refused; its notes are then dropped."""
    call = Call(folder, mark)
    ours = (_job(name, _facts(RunFolder(folder / name)) | noted) for name, noted in call.jobs().items())
    jobs = sorted(ours, key=lambda job: _natural(job.name))
    call.forget()
    settings = [_fold(name, group) for name, group in _settings(jobs)]
    not_done = [job for job in jobs if job.state != "done"]
    return Summary(str(folder), again, stopped, settings, not_done, _unlike(jobs))


def courses(summary: Summary) -> dict[str, list[list[dict[str, Any]]]]:
    """Of each setting the rows of its runs that are done."""
    base = Path(summary.folder)
    return {one.name: [read(RunFolder(base / run).rows) for run in one.runs] for one in summary.settings}


def courses_below(base: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """The same of all runs below a folder, whatever became of them: those that differ in their seed are one setting."""
    jobs, told = [], {}
    for run in runs_below(base):
        name = str(run.root.relative_to(base)) if run.root != base else str(base)
        try:
            told[name], facts = read(run.rows), status.read(run)
            group = alike(read_config(run.config), meanwhile(facts)) if told[name] else ""
        except UsageError as error:
            log.warning("left out: %s", error)
        else:
            jobs.append(Job(name, "", given(facts), {}, "", group))
    shown = [job for job in jobs if told[job.name]]
    return {name: [told[job.name] for job in group] for name, group in _settings(shown)}


def given(facts: Mapping[str, Any]) -> list[str]:
    """The settings that a status names; of a sweep's job also those with which it was trained on its own meanwhile."""
    typed = [one for one in facts.get("overrides") or () if not key_of(one).startswith("hydra")]
    alone = meanwhile(facts)
    return [*typed, f"(meanwhile alone with {' '.join(alone)})"] if alone else typed


def meanwhile(facts: Mapping[str, Any]) -> list[str]:
    """With what a sweep's job was trained on its own, and is not any longer."""
    return [one for one in facts.get("alone") or () if one not in (facts.get("overrides") or ())]


def alike(config: Mapping[str, Any], besides: Sequence[str] = ()) -> str:
    """Equal for configurations that differ in their seed only, and for the same settings `besides`."""
    set_to = {key: value for key, value in config.items() if key != "seed" and value is not None}
    # without null: older runs lack keys that are null today
    return hashlib.sha1(json.dumps([set_to, list(besides)], sort_keys=True).encode()).hexdigest()


def _settings(jobs: Sequence[Job]) -> list[tuple[str, list[Job]]]:
    """Each setting's name and jobs."""
    _tell_apart(jobs)
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.group or job.own, []).append(job)
    return [(_named(group, jobs), group) for group in groups.values()]


def _tell_apart(jobs: Sequence[Job]) -> None:
    """Each job's own settings are those that not all of them have; the seed is none."""
    sizes = Counter(job.group for job in jobs)
    several = [job for job in jobs if job.group and sizes[job.group] > 1]  # one that is alone goes by its name
    compared = several if len({job.group for job in several}) > 1 else [job for job in jobs if job.group] or jobs
    shared = set.intersection(*(set(job.overrides) for job in compared)) if jobs else set()
    for job in jobs:
        own = [override for override in job.overrides if override not in shared and key_of(override) != "seed"]
        job.own = " ".join(own) or "as given"


def _named(group: Sequence[Job], jobs: Sequence[Job]) -> str:
    """Its own settings; of a run that is alone in its group, the run."""
    first = group[0]
    if not first.group:
        return first.own
    if len(group) == 1:
        again = sum(job.name == first.name for job in jobs) > 1
        return f"{first.name} {first.own}" if again else first.name
    if first.own == "as given" and all(job.name == first.name for job in group):
        return first.name
    others = any(job.own == first.own and job.group != first.group for job in jobs)
    return f"{first.own} ({first.name}, ...)" if others or first.own == "as given" else first.own


def _unlike(jobs: Iterable[Job]) -> list[str]:
    """`modes.samples: 300, 10000`: what the same metrics of these jobs depend on, where it differs."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        facts = {
            f"{name}.{key}": value
            for name, each in job.measured.get("metrics", {}).items()
            for key, value in each.items()
        }
        for key, value in (facts | {key: job.measured.get(key) for key in ("weights", "truncation", "data")}).items():
            if job.measured:
                found.setdefault(key, set()).add(str(value))
    return [f"{key}: {', '.join(sorted(values))}" for key, values in found.items() if len(values) > 1]


def _natural(name: str) -> list[tuple[str, int]]:
    """As a key: batch_size-8 stands before batch_size-16."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _facts(folder: RunFolder) -> dict[str, Any]:
    """A job's status; one that cannot be read counts as failed, and so does one that others work at."""
    try:
        status.refuse_busy(folder)
        return status.read(folder) | {"state": status.state_of(folder)}
    except UsageError as error:
        return {"state": "busy" if isinstance(error, Busy) else "failed", "error": str(error)}


def _job(name: str, facts: dict[str, Any]) -> Job:
    message = str(facts.get("error") or facts.get("reason") or "")
    name = str(facts.get("run") or name)
    last, overrides = facts.get("last") or {}, list(facts.get("settings") or given(facts))
    measured = last.get("measured") or {}
    return Job(
        name,
        facts["state"],
        overrides,
        results(last) if facts.get("command") == "bench" else _shown(last, facts.get("best")),
        message,
        str(facts.get("group") or ""),
        measured,
    )


def _shown(last: dict[str, Any], best: dict[str, Any] | None) -> dict[str, float]:
    """The numbers of the last row, and behind that of best.metric the best and its step. Infinite is null there."""
    shown: dict[str, float] = {}
    endless = {name: math.inf for name, value in last.items() if value is None and kind(name) in ("loss", "metric")}
    for name, value in (results(last) | endless).items():
        shown[name] = value
        if best and best["metric"] == name:
            shown |= {f"{name} best": best["value"], f"{name} best at step": best["step"]}
    return shown


def _fold(name: str, jobs: list[Job]) -> Setting:
    done = [job for job in jobs if job.state == "done"]
    values: dict[str, list[float]] = {}
    for job in done:
        for column, value in job.row.items():
            values.setdefault(column, []).extend([value] if math.isfinite(value) else [])
    figures = {column: _figure(numbers) for column, numbers in values.items()}
    return Setting(name, len(done), len(jobs), figures, [job.name for job in done])


def _figure(numbers: list[float]) -> Figure:
    if not numbers:
        return Figure(None, None, 0)
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Figure(statistics.fmean(numbers), spread, len(numbers))
