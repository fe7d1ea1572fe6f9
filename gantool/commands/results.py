"""`gantool results`: runs the experiments that state a figure, and writes the page that says what came out of them."""

import argparse
import operator
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gantool.config.schema import conf_dir
from gantool.errors import RunError, UsageError
from gantool.runs import status
from gantool.runs.folder import RunFolder, write_atomically
from gantool.runs.resume import read_config

STATED = re.compile(r"^# Reaches: (.+)$", re.MULTILINE)
PAPER = re.compile(r"^# Paper: (.+)$", re.MULTILINE)
FIGURE = re.compile(r"(\w+) (>=|<=) (-?[\d.]+(?:e-?\d+)?)")
COMPARE = {">=": operator.ge, "<=": operator.le}
HOW = (
    "trust", "checkpoint", "keep_last", "logger", "device", "compile", "graph", "data",
    "tick_every", "sample_every", "evaluate_every", "checkpoint_every",
)  # fmt: skip
WHERE = ("root", "download")
HEAD = """\
# What the experiments reach

Made by `make results`, which is `gantool results`: every experiment of conf/experiment that states a figure is trained
and compared with it. Figures are those of training's last row of metrics.jsonl, {seeds}; the paper's are
of its own networks, data and training.

"""


class Figure(NamedTuple):
    """`modes_covered >= 8`, as an experiment's YAML states it in its line `# Reaches: ...`."""

    column: str
    sign: str
    bound: float

    def holds(self, value: float | None) -> bool:
        return value is not None and COMPARE[self.sign](value, self.bound)


class Experiment(NamedTuple):
    name: str
    figures: tuple[Figure, ...]
    paper: str = ""  # what its paper reports, and where: its line `# Paper: ...`

    def settings(self, seed: int) -> list[str]:
        return [f"experiment={self.name}", *([f"seed={seed}"] if seed else [])]


def run(argv: Sequence[str]) -> int:
    """0 if every run reached what its experiment states."""
    parser = argparse.ArgumentParser(
        "gantool results",
        description="Train the experiments that state a figure, and write what they reach: figures of training's last "
        "row. What `gantool evaluate` finds later, perhaps by other settings, does not count.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="EXPERIMENT", help="train and print only these; the page has all there are"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="train with seeds 0 to N-1; default 1")
    parser.add_argument("--folder", type=Path, default=Path("outputs/results"), help="of the runs; default %(default)s")
    parser.add_argument("--page", type=Path, default=Path("outputs/RESULTS.md"), help="default %(default)s")
    parser.add_argument("--no-training", action="store_true", help="only write the page, from the runs there are")
    options = parser.parse_args(argv)
    experiments = stated()
    chosen = [experiment for experiment in experiments if not options.names or experiment.name in options.names]
    unknown = set(options.names) - {experiment.name for experiment in experiments}
    if unknown:
        raise UsageError(
            f"no experiment {min(unknown)!r} states a figure; those that do: {', '.join(_names(experiments))}"
        )
    if options.seeds < 1:
        raise UsageError(f"--seeds={options.seeds} trains nothing: give 1 or more")
    if options.no_training and not options.folder.is_dir():
        raise UsageError(f"--folder={options.folder} is no folder: name the one that holds the runs")
    seeds = range(options.seeds)
    if not options.no_training:
        for experiment in chosen:
            for seed in seeds:
                train(experiment, seed, folder_of(options.folder, experiment, seed))
    runs = {(each, seed): folder_of(options.folder, each, seed) for each in experiments for seed in seeds}
    older = {folder.root for (each, seed), folder in runs.items() if is_older(each, seed, folder)}
    lines, reached = table(experiments, seeds, options.folder, older)
    text = HEAD.format(seeds="seed 0" if len(seeds) == 1 else f"mean ± sd over seeds 0 to {seeds[-1]}") + lines
    write_atomically(options.page, lambda file: file.write(text.encode()))
    print(table(chosen, seeds, options.folder, older)[0])
    print(options.page)
    return 0 if reached else 1


def stated() -> list[Experiment]:
    """The experiments whose YAML has a line `# Reaches: column >= number, ...`, and perhaps one `# Paper: ...`."""
    found = []
    for path in sorted((conf_dir() / "experiment").glob("*.yaml")):
        text = path.read_text("utf-8")
        line, paper = STATED.search(text), PAPER.search(text)
        if line:
            matches = [FIGURE.fullmatch(part.strip()) for part in line[1].rstrip(".").split(",")]
            if not all(matches):
                raise UsageError(f"{path}: write what it reaches as `# Reaches: column >= number, column <= number`")
            parts = [match.groups() for match in matches if match]
            figures = tuple(Figure(column, sign, float(bound)) for column, sign, bound in parts)
            found.append(Experiment(path.stem, figures, paper[1].rstrip(".") if paper else ""))
    return found


def folder_of(base: Path, experiment: Experiment, seed: int) -> RunFolder:
    return RunFolder(base / f"{experiment.name}_seed_{seed}")


def train(experiment: Experiment, seed: int, folder: RunFolder) -> None:
    """A run that is finished, of this very configuration, stays; one that was interrupted goes on."""
    settings = experiment.settings(seed)
    command = [sys.executable, "-m", "gantool", "train", *settings]
    if is_older(experiment, seed, folder):
        print(f"{experiment.name}: its configuration has changed, it is trained anew", file=sys.stderr)
        shutil.rmtree(folder.root)
    code = subprocess.run([*command, f"hydra.run.dir={folder.root}"]).returncode
    if code in (130, 143):
        raise KeyboardInterrupt
    if code:
        print(f"{experiment.name}: not trained here (exit code {code})", file=sys.stderr)


def is_older(experiment: Experiment, seed: int, folder: RunFolder) -> bool:
    """Is there a run, of another configuration than today's?"""
    if not folder.config.is_file():
        return False
    command = [sys.executable, "-m", "gantool", "train", *experiment.settings(seed), "--cfg", "job", "--resolve"]
    shown = subprocess.run(command, capture_output=True, text=True)
    if shown.returncode:
        raise RunError(f"{experiment.name} cannot be composed: {shown.stderr.strip()}")
    usual = yaml.safe_load((conf_dir() / "train.yaml").read_text("utf-8"))  # of keys that are newer than the run
    then = {key: value for key, value in usual.items() if not isinstance(value, dict | list)}
    return not _same(_plain(then | read_config(folder.config)), _plain(yaml.safe_load(shown.stdout)))


def _same(then: Any, now: Any) -> bool:
    """A single value that is new in gantool since is passed over; a group or component that is new is a change."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return bool(then == now)
    added = [now[key] for key in now.keys() - then.keys()]
    return (
        then.keys() <= now.keys()
        and not any(isinstance(value, dict) for value in added)
        and all(_same(then[key], now[key]) for key in then)
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """What a run's figures depend on: not on how it is played, but for rounding, nor on where the data was."""
    kept = {key: value for key, value in config.items() if key not in HOW}
    if isinstance(kept.get("dataset"), dict):
        kept["dataset"] = {key: value for key, value in kept["dataset"].items() if key not in WHERE}
    return kept


def table(
    experiments: Sequence[Experiment],
    seeds: Sequence[int],
    base: Path,
    older: Collection[Path] = (),  # folders of runs whose configuration is not today's
) -> tuple[str, bool]:
    """The page's table and machines, and whether all that was trained reached what is stated."""
    rows, machines, reached = [], set(), True
    for experiment in experiments:
        folders = [folder_of(base, experiment, seed) for seed in seeds]
        told = [status.read(folder) for folder in folders if folder.root not in older]
        runs = [run for run in told if run.get("state") == "done"]
        machines |= {_machine(run) for run in runs}
        cells = [*_cells(experiment, runs), *_missing(told, len(seeds))]
        reached = reached and all("**no**" not in cell for cell in cells)
        command = shlex.join(["gantool", "train", *experiment.settings(0)])
        time = f"{statistics.mean(run['seconds'] for run in runs):.0f} s" if runs else ""
        rows.append(f"| `{command}` | {'<br>'.join(cells)} | {experiment.paper} | {time} |")
    lines = [
        "| command | reached (stated) | the paper | training |",
        "|---|---|---|---|",
        *rows,
        "",
        *sorted(machines),
        "",
    ]
    return "\n".join(lines), reached


def _cells(experiment: Experiment, runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for figure in experiment.figures:
        stated = f"{figure.column} {figure.sign} {figure.bound:g}"
        values = [run["last"].get(figure.column) for run in runs]
        if not runs:
            yield f"not run here ({stated})"
        elif all(figure.holds(value) for value in values):
            yield f"{_spread(values)} ({stated})"
        else:
            yield f"{_spread(values)}, **no** ({stated})"


def _missing(told: Sequence[dict[str, Any]], wanted: int) -> Iterator[str]:
    """What became of runs that have no figure, where others have, or where they failed."""
    for run in told:
        if run and run["state"] != "done":
            yield f"**no**: {run['state']}, {run.get('reason') or run.get('error') or 'not at its end'}"
    done = sum(run.get("state") == "done" for run in told)
    if 0 < done < wanted:
        yield f"**no**: {done} of {wanted} seeds"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    spread = f" ± {statistics.stdev(known):.2g}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.4g}{spread}"


def _machine(run: dict[str, Any]) -> str:
    versions = run.get("versions") or {}
    kind = run.get("cpu") if str(run.get("device")).startswith("cpu") else run.get("device")
    return f"{kind}, {run.get('precision')}, torch {versions.get('torch')}, gantool {versions.get('gantool')}."


def _names(experiments: Sequence[Experiment]) -> list[str]:
    return [experiment.name for experiment in experiments]
