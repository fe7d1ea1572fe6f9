"""What a person sees while a command runs: log lines, and the progress of a training run.

All of it goes to standard error through one console, so that log lines appear above the bar and not through it.
"""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gantool.runs.text import duration


class Screen(Console):
    """Standard error. Where nobody reads it any more (`gantool train 2>&1 | head`), a run goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


console = Screen(stderr=True, highlight=False)
log = logging.getLogger(__name__)

LINE_SECONDS = 10.0  # between progress lines where there is no bar
BAR_SECONDS = 0.2  # between updates of the bar
WINDOW = 30.0  # seconds over which the speed is measured
LOSSES = {"D": "d_loss", "G": "g_loss"}
ACCURACIES = {"real": "d_accuracy_real", "fake": "d_accuracy_fake"}
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red"}


class ConsoleHandler(logging.Handler):
    """Log lines on the console, never wrapped. Records with `file_only` are left to the log file."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        try:
            clock = time.strftime("%H:%M:%S ", time.localtime(record.created))
            text = Text.assemble((clock, "dim"), (self.format(record), STYLES.get(record.levelno, "")))
            console.print(text, soft_wrap=True)
        except Exception:  # a log line must never stop a run
            self.handleError(record)


class Progress:
    """How far a run is: a bar on a terminal; elsewhere, or where workers share a terminal, a line now and then.

    `total_steps` counts from the run's very first step, `minutes` from this session's start; None = no such budget.
    `lines` asks for lines instead of a bar; None = whatever suits.
    """

    def __init__(
        self,
        total_steps: int | None,
        minutes: float | None,
        start_step: int,
        batch_images: int,  # real images in a step
        lines: bool | None = None,
        components: int | None = None,  # of a meta-algorithm
    ):
        self.total_steps, self.minutes, self.batch_images = total_steps, minutes, batch_images
        self.components = components
        self.start_step = self.step = start_step
        self.stats: dict[str, float] = {}
        self.warnings: list[str] = []  # what the run is suspected of now
        self.measuring = ""  # what is being evaluated now
        lines = not console.is_terminal or _shares_terminal() if lines is None else lines
        self.interval = LINE_SECONDS if lines else BAR_SECONDS
        stdout_too = sys.stdout.isatty()
        self.bar = None if lines else Live(console=console, auto_refresh=False, redirect_stdout=stdout_too)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self.next = self.began + min(self.interval, 2.0)  # the first sign of life comes soon
        self.marks = deque[tuple[float, int]]()  # when which step was done
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self.step > self.start_step:
            self._show(time.monotonic())
        if self.bar:
            self.bar.stop()

    def update(
        self, step: int, stats: Mapping[str, float | None] | None = None, warnings: Sequence[str] | None = None
    ) -> None:
        """After each step; shows something only now and then. What is not given stays as it was."""
        self.step = step
        self.warnings = self.warnings if warnings is None else list(warnings)
        if stats:
            self.stats = {key: value for key, value in stats.items() if value is not None and math.isfinite(value)}
        now = time.monotonic()
        if not self.marks and step > self.start_step:
            self.marks.append((now, step))
        if now >= self.next:
            self.next = now + self.interval
            self._show(now)

    def begin_pace(self) -> None:
        """It is measured anew from the coming update on: the step before took long, as one that is compiled does."""
        self.marks.clear()

    @contextmanager
    def evaluating(self) -> Iterator[Callable[[str, str, int, int], None]]:
        """Meanwhile it says what is being measured, which is told to the function given."""
        if self.bar:
            self.next = 0.0  # at once: the first piece may be a long one
        try:
            yield self._evaluates
        finally:
            self.measuring = ""

    def _evaluates(self, metric: str, what: str, done: int, total: int) -> None:
        self.measuring = measuring(metric, what, done, total)
        self.update(self.step)

    def _show(self, now: float) -> None:
        if self.marks:
            self.marks.append((now, self.step))
        while len(self.marks) > 2 and now - self.marks[0][0] > WINDOW:
            self.marks.popleft()
        if self.bar:
            self.bar.update(self._picture(now), refresh=True)
        else:
            log.info("  ".join([self._place(), *self._losses(), *self._warned(), *self._pace(now)]))

    def _picture(self, now: float) -> RenderableType:
        place = Text("  ".join([self._place(), *self._pace(now)]), "cyan")
        row = Table.grid(padding=(0, 2))
        row.add_row(ProgressBar(total=1.0, completed=self._share(now), width=24), place)
        return Group(row, Text.assemble("  ".join(self._losses()), ("  ".join(["", *self._warned()]), "yellow")))

    def _steps_per_second(self) -> float:
        """0 where it is not known yet."""
        if len(self.marks) < 2:
            return 0.0
        (since, first), (until, last) = self.marks[0], self.marks[-1]
        return (last - first) / (until - since) if until > since else 0.0

    def _share(self, now: float) -> float:
        """Of the budget that will be spent first, in [0, 1]."""
        steps = self.step / self.total_steps if self.total_steps else 0.0
        minutes = (now - self.began) / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(steps, minutes))

    def _seconds_left(self, now: float) -> float | None:
        left, speed = [], self._steps_per_second()
        if self.total_steps and speed:
            left.append((self.total_steps - self.step) / speed)
        if self.minutes:
            left.append(60 * self.minutes - (now - self.began))
        return max(0.0, min(left)) if left else None

    def _place(self) -> str:
        place = f"step {self.step:,}" + (f"/{self.total_steps:,}" if self.total_steps else "")
        place += f"  component {self.stats['component']}/{self.components}" if "component" in self.stats else ""
        return place + (f"  evaluating {self.measuring}" if self.measuring else "")

    def _losses(self) -> list[str]:
        """Losses, and how often D is right about reals and fakes."""
        losses = [f"{name} {self.stats[key]:.3f}" for name, key in LOSSES.items() if key in self.stats]
        rates = [f"{name} {self.stats[key]:.0%}" for name, key in ACCURACIES.items() if key in self.stats]
        return losses + (["D right on " + ", ".join(rates)] if rates else [])

    def _warned(self) -> list[str]:
        return [f"warning: {', '.join(self.warnings)}"] if self.warnings else []

    def _pace(self, now: float) -> list[str]:
        left, speed = self._seconds_left(now), self._steps_per_second() * self.batch_images
        rate = f"{speed:,.0f} images/s" if speed >= 10 else f"{speed:.1f} images/s"
        passed = duration(now - self.began) + ("" if left is None else f", {duration(left)} left")
        return [rate, passed] if speed else [passed]


def _shares_terminal() -> bool:
    """Do several jobs of a sweep write to this terminal at once?"""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.initialized() and HydraConfig.get().runtime.choices.get("hydra/launcher", "basic") != "basic"


@contextmanager
def evaluation() -> Iterator[Callable[[str, str, int, int], None]]:
    """How far an evaluation is, as it is told to the function given: a bar, or a line now and then."""
    if not console.is_terminal or _shares_terminal():
        yield _Lines().tell
        return
    columns = (TextColumn("[cyan]{task.description}"), BarColumn(24), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        task = bars.add_task("evaluating", total=None)
        yield lambda metric, what, done, total: bars.update(
            task, description=f"evaluating {measuring(metric, what, done, total)}", completed=done, total=total or None
        )


class _Lines:
    def __init__(self) -> None:
        self.next = time.monotonic() + LINE_SECONDS

    def tell(self, metric: str, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self.next:
            self.next = now + LINE_SECONDS
            log.info("  evaluating %s", measuring(metric, what, done, total))


def measuring(metric: str, what: str, done: int, total: int) -> str:
    """`modes: samples 256/10,000`"""
    return f"{metric}: {what} {done:,}/{total:,}" if what else metric
