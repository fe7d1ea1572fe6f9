"""gantool bench: how fast a training with these settings runs, and where the time goes. Imports no torch: what is
measured runs in processes of its own, so that start-up, memory and threads are those of a fresh one."""

import json
import logging
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gantool.commands.stopping import ended_by_sigterm
from gantool.errors import RunError
from gantool.measure.process import Process, timed
from gantool.measure.report import Report
from gantool.measure.windows import ratios, spread, take_turns
from gantool.runs import status
from gantool.runs.folder import RunFolder, write_atomically
from gantool.runs.resume import key_of, own_folders

log = logging.getLogger(__name__)
OWN = ("against", "rounds", "seconds", "startup")  # keys that gantool train does not have
SUBJECT = "gantool.commands.subject"
PAUSE = 0.2  # seconds between windows: a loader's workers fill their queue meanwhile
PATIENCE = 0.002  # seconds between looks whether the first step is done


def run(cfg: DictConfig) -> float:
    """Images a second, which a sweeper may raise."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from gantool.config.schema import Bench
    from gantool.config.signature import check_root

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    check_root(config, Bench)
    hydra = HydraConfig.get()
    settings = [override for override in hydra.overrides.task if key_of(override) not in OWN]
    settings += own_folders(hydra)
    command = shlex.join(["gantool", "bench", *hydra.overrides.task])
    with ended_by_sigterm():
        report = measured(config, command, settings if cfg.startup else None)
    keep(report, RunFolder(hydra.runtime.output_dir), list(hydra.overrides.task))
    if hydra.mode != RunMode.MULTIRUN:  # a sweep ends with a table of all
        show(report)
    return report.images_per_second.median


def measured(config: dict[str, Any], command: str, settings: Sequence[str] | None) -> Report:
    """`settings` are those of gantool train, whose start is then timed; None = it is not."""
    game = {key: value for key, value in config.items() if key not in OWN}
    with ExitStack() as stack, progress(config["rounds"]) as tell:
        subject = stack.enter_context(Process(SUBJECT, {"play": "gantool", "config": game}))
        contenders = [subject]
        if config["against"]:
            contenders.append(stack.enter_context(Process(SUBJECT, {"play": "loop", "config": game}, untuned())))
        for contender in reversed(contenders):
            contender.answer()
        windows = take_turns(contenders, config["rounds"], config["seconds"], PAUSE, tell)
        facts = subject.ask("facts")
        batch = facts["images_per_step"]
        report = Report(
            command=command,
            facts=facts,
            images_per_second=spread([batch * window.rate for window in windows[0]]),
            step=spread([1 / window.rate for window in windows[0]]),
            shares=subject.ask("shares"),
            flops=subject.ask("flops"),
            peak_flops=subject.ask("peak_flops"),
            evaluation=subject.ask("evaluation"),
        )
        if config["against"]:
            rates = spread([config["batch_size"] * window.rate for window in windows[1]])
            name = contenders[1].ask("facts")["name"]
            report.loop = {"name": name, "images_per_second": rates, "ratio": spread(ratios(*windows))}
    if settings is not None:
        report.startup = startup(settings)
    return report


def untuned() -> dict[str, str]:
    """The environment as it was before gantool set what suits it: a script of one's own has no such setting."""
    return {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}


def startup(settings: Sequence[str]) -> dict[str, float]:
    """Seconds until `gantool train` has done a step, and that `gantool sample` takes on the run that this leaves."""
    with tempfile.TemporaryDirectory(prefix="gantool-bench-") as folder:
        run = Path(folder) / "run"
        first = first_step([*settings, "tick_every=1"], run)
        trust = [setting for setting in settings if key_of(setting) == "trust"]  # no run keeps it
        sample = timed([*python(), "sample", *trust, f"run={run}", f"out={folder}/samples.png"])
    return {"gantool train, first step": first, "gantool sample": sample}


def first_step(settings: Sequence[str], run: Path) -> float:
    """Seconds from the start of the process; the first row of metrics.jsonl is written right after the first step."""
    began = time.perf_counter()
    with training(settings, run) as check:
        while not (RunFolder(run).rows.exists() and RunFolder(run).rows.stat().st_size):
            check()
            time.sleep(PATIENCE)
        return time.perf_counter() - began


@contextmanager
def training(settings: Sequence[str], run: Path) -> Iterator[Callable[[], None]]:
    """`gantool train` in its own process, which is stopped at the end; the function given raises if it has ended."""
    with tempfile.TemporaryFile() as said:
        command = [*python(), "train", *settings, f"hydra.run.dir={run}"]
        child = subprocess.Popen(command, stdout=said, stderr=said)

        def check() -> None:
            if child.poll() is not None:
                said.seek(0)
                raise RunError(f"gantool train has ended: {said.read().decode().strip()}")

        try:
            yield check
        finally:
            child.terminate()
            child.wait()


def python() -> list[str]:
    return [sys.executable, "-m", "gantool"]


def keep(report: Report, folder: RunFolder, overrides: list[str]) -> None:
    """bench.json and bench.md, and a status for the table of a sweep."""
    data = asdict(report) | {"peak_share": report.peak_share}
    for name, text in (("bench.json", json.dumps(data, indent=2) + "\n"), ("bench.md", report.markdown())):
        write_atomically(folder.root / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    status.update(folder, state="done", command="bench", overrides=overrides, last=report.columns())
    log.info("%s", folder.root / "bench.md")


def show(report: Report) -> None:
    """The table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(style="dim")
    for row in report.rows():
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table)


@contextmanager
def progress(rounds: int) -> Iterator[Any]:
    """A bar over the windows, on a terminal."""
    from rich.progress import Progress

    from gantool.commands.console import console

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting and measuring", total=rounds + 1)
        yield lambda done: bar.update(task, completed=done)
