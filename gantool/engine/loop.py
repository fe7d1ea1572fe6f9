"""Ticks: many steps on the device, then one look at what they did."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gantool.engine.meters import Meters

BEAT = 50  # steps whose data are prepared at once, where no row is due after a number of steps


@dataclass
class Plan:
    """When what happens, in steps, and in seconds of training beside them; None = never (for a budget: unlimited)."""

    steps: int | None
    minutes: float | None
    tick_every: int | None
    sample_every: int | None
    checkpoint_every: int | None
    evaluate_every: int | None
    component_steps: int | None = None  # that each component of a meta-algorithm is trained for
    tick_seconds: float | None = None
    sample_seconds: float | None = None
    checkpoint_seconds: float | None = None

    @property
    def beat(self) -> int:
        """The most steps between two looks."""
        return self.tick_every or BEAT

    def next(self, step: int) -> int:
        """The next step at which anything happens that goes by steps."""
        intervals = (
            self.beat, self.sample_every, self.checkpoint_every, self.evaluate_every, self.component_steps,
        )  # fmt: skip
        nearest = min(step - step % interval + interval for interval in intervals if interval)
        return nearest if self.steps is None else min(nearest, self.steps)

    @property
    def game_steps(self) -> int | None:
        """How long the same networks are trained."""
        return self.component_steps or self.steps

    def passed(self, since: float, until: float) -> bool:
        """Is anything due between these seconds that goes by time?"""
        seconds = (self.tick_seconds, self.sample_seconds, self.checkpoint_seconds)
        return any(_passed(every, since, until) for every in seconds)

    def sampled(self, row: Mapping[str, Any], clock: "Clock") -> bool:
        """Has a grid been due since a row, {} = the beginning?"""
        step, seconds = row.get("step", 0), row.get("seconds", 0.0)
        return _passed(self.sample_every, step, clock.step) or _passed(self.sample_seconds, seconds, clock.seconds)

    def spent(self, clock: "Clock") -> bool:
        out_of_steps = self.steps is not None and clock.step >= self.steps
        return out_of_steps or (self.minutes is not None and clock.seconds >= 60 * self.minutes)

    def budget(self, clock: "Clock") -> str:
        """What was spent: a run may have gone further before it got these steps."""
        out_of_steps = self.steps is not None and clock.step >= self.steps
        return f"{self.steps} steps" if out_of_steps else f"{self.minutes} minutes"


@dataclass
class Clock:
    """How far a run has come, over all resumptions."""

    step: int = 0
    seconds: float = 0.0
    images: int = 0  # real ones that were shown
    images_per_step: int = 0  # from here on


class Observer(Protocol):
    """What a command does with the events of a run."""

    def stepped(self, step: int) -> None:
        """After each step was handed to the device; must be cheap and must not wait for it."""
        ...

    def diverged(self, step: int, name: str) -> None:
        """A statistic was not finite; raises."""
        ...

    def sample(self, step: int) -> None: ...

    def evaluate(self, step: int) -> dict[str, Any] | None:
        """What was measured; None where it was stopped meanwhile."""
        ...

    def row(self, means: dict[str, Any]) -> bool:
        """Means of a tick and whatever was measured; is it worth a checkpoint?"""
        ...

    def checkpoint(self) -> None: ...

    def rescue(self, error: BaseException) -> None:
        """What was due after a step has failed; the step itself is whole."""
        ...

    def component(self, step: int) -> None:
        """A component of a meta-algorithm has had its steps, and the budget is not spent: what comes next?"""
        ...


def train(
    step: Callable[[], None],
    prepare: Callable[[int], None],  # steps -> writes the order of the data ahead
    meters: Meters,
    plan: Plan,
    clock: Clock,
    observer: Observer,
    stop: Callable[[], bool],  # was the run asked to stop?
) -> bool:
    """Runs until the budget is spent (True) or somebody stops it (False: after a whole step, not yet saved)."""
    began = time.monotonic() - clock.seconds
    if clock.step == 0:
        observer.sample(0)
    last = plan.spent(clock)
    look = partial(_safe_look, meters, plan, clock, observer, began)
    looked = clock.seconds  # at the last look
    if _row_due(plan, clock, looked, last) and meters.pending and not look(looked, last):  # stopped while it measured
        return False
    while not last:
        if _due(clock.step, plan.component_steps):
            observer.component(clock.step)
        target = plan.next(clock.step)
        prepare(target - clock.step)
        while True:
            step()
            clock.step += 1
            clock.images += clock.images_per_step
            clock.seconds = time.monotonic() - began
            observer.stepped(clock.step)
            due = clock.step == target or plan.passed(looked, clock.seconds)
            if due or stop() or plan.spent(clock):
                break
        last, since, looked = plan.spent(clock), looked, clock.seconds
        if not (due or last) or not look(since, last):
            return False
        if stop() and not last:
            return False
    return True


def _safe_look(meters: Meters, plan: Plan, clock: Clock, observer: Observer, *times: Any) -> bool:
    """What a metric or a logger does wrong costs no steps."""
    try:
        return _look(meters, plan, clock, observer, *times)
    except (Exception, SystemExit) as error:
        observer.rescue(error)
        raise


def _look(meters: Meters, plan: Plan, clock: Clock, observer: Observer, began: float, since: float, last: bool) -> bool:
    """All that is due after a step. False where it was stopped while it measured: then none of it is done yet.

    `since`: the seconds of training at the last look. Nothing is made up for: what was due several times is done once.
    """
    worth_keeping, now = False, clock.seconds
    row = _row_due(plan, clock, since, last)
    if row:
        means = _read(meters, observer)
        clock.seconds = time.monotonic() - began
        measured = observer.evaluate(clock.step) if last or _due(clock.step, plan.evaluate_every) else {}
        if measured is None:
            return False
        worth_keeping = observer.row(means | measured)
    if last or _due(clock.step, plan.sample_every) or _passed(plan.sample_seconds, since, now):
        observer.sample(clock.step)
    if row:
        meters.clear()  # where that failed, a resumed run does it once more
    keep = _due(clock.step, plan.checkpoint_every) or _passed(plan.checkpoint_seconds, since, now)
    if last or worth_keeping or keep:
        observer.checkpoint()
    clock.seconds = time.monotonic() - began
    return True


def _row_due(plan: Plan, clock: Clock, since: float, last: bool) -> bool:
    told = (plan.tick_every, plan.evaluate_every, plan.component_steps)
    by_time = _passed(plan.tick_seconds, since, clock.seconds)
    return last or by_time or any(_due(clock.step, every) for every in told)


def _read(meters: Meters, observer: Observer) -> dict[str, float]:
    """Means of the tick. The only place that waits for the device."""
    means, bad = meters.read()
    if bad:
        name = min(bad, key=lambda key: bad[key])
        observer.diverged(bad[name], name)
    return means


def _passed(every: float | None, since: float, until: float) -> bool:
    """Does a multiple of `every` lie between the two, the latter included? So a resumed run keeps the beat."""
    return every is not None and until // every > since // every


def _due(step: int, every: int | None) -> bool:
    return bool(every) and step % every == 0  # type: ignore[operator]
