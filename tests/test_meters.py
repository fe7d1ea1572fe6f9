"""Means, the first bad step, and when what happens in a run."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from gantool.commands.assembly import Assembly
from gantool.engine import loop
from gantool.engine.meters import Meters
from gantool.game.game import Game
from gantool.game.updates import Alternating
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.ema import EMA
from toys import Fixed, Linear, Scalar, players

CPU = torch.device("cpu")


def stats(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


# ---------------------------------------------------------------- meters


def test_means_are_those_by_hand():
    meters = Meters(CPU)
    for a, b in ((1.0, 10.0), (2.0, -20.0), (6.0, 40.0)):
        meters.add(stats(a=a, b=b))
    assert meters.read() == ({"a": 3.0, "b": 10.0}, {})


def test_each_tick_has_its_own_means():
    meters = Meters(CPU)
    for value in (1.0, 3.0):
        meters.add(stats(a=value))
    assert meters.read()[0] == {"a": 2.0}
    meters.clear()
    meters.add(stats(a=7.0))
    assert meters.read()[0] == {"a": 7.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [1, 4, 5, 9])
def test_first_bad_step_is_exact(first, bad):
    """Trap: a step counter off by one. Steps count from 1, across ticks; later bad steps do not move it."""
    meters = Meters(CPU)
    for step in range(1, 11):
        meters.add(stats(good=1.0, bad=bad if step in (first, 10) else 1.0))
        if step % 4 == 0:
            means, found = meters.read()
            assert found == ({"bad": first} if first <= step else {})
            assert means["good"] == 1.0
    assert meters.read()[1] == {"bad": first}


def test_each_statistic_has_its_own_first_bad_step():
    meters = Meters(CPU)
    for step in range(1, 6):
        meters.add(stats(a=math.nan if step >= 4 else 0.0, b=math.inf if step == 2 else 0.0, c=0.0))
    assert meters.read()[1] == {"a": 4, "b": 2}


def resumed(meters: Meters) -> Meters:
    other = Meters(CPU)
    other.load_state_dict(meters.state_dict())
    return other


def test_meters_resume_within_a_tick():
    meters = Meters(CPU)
    for value in (1.0, 2.0):
        meters.add(stats(a=value))
    meters = resumed(meters)
    meters.add(stats(a=6.0))
    assert meters.read() == ({"a": 3.0}, {})
    meters.clear()
    meters.add(stats(a=math.nan))
    assert meters.read()[1] == {"a": 4}


def test_resuming_does_not_forget_a_bad_step():
    """Stopped between the bad step and the tick that would have told: the sum stays NaN, and somebody must say so."""
    meters = Meters(CPU)
    meters.add(stats(a=math.nan))
    meters = resumed(meters)
    meters.add(stats(a=1.0))
    assert meters.read()[1] == {"a": 1}


@pytest.mark.parametrize("after", [{"a": 5.0, "c": 7.0}, {"a": 5.0}, {"a": 5.0, "b": 1.0, "c": 7.0}], ids=str)
def test_run_may_resume_with_other_statistics(after):
    """`gantool train resume=RUN 'trick=[...]'`: what was summed under other names is dropped, not mixed in."""
    meters = Meters(CPU)
    meters.add(stats(a=1.0, b=2.0))
    meters.read()
    meters = resumed(meters)
    meters.add(stats(**after))
    assert meters.read() == (after, {})


def test_state_of_a_step_is_plain(tmp_path):
    """Trap: numpy scalars and the like in a checkpoint, which `weights_only=True` refuses."""
    game = Game(Scalar(1.0), Linear(torch.ones(1)), NonSaturating(), {"ema": EMA()}, Fixed(torch.ones(4, 1)))
    d, g = players(game, 0.1, torch.optim.Adam)
    meters = Meters(CPU)
    meters.add(Alternating()(game, d, g))
    state = {"game": game.state_dict(), "players": [d.state_dict(), g.state_dict()], "meters": meters.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    other = Meters(CPU)
    other.load_state_dict(loaded["meters"])
    assert other.read() == meters.read()


# ---------------------------------------------------------------- the loop


class Log:
    """An observer that writes down what it is told."""

    def __init__(self, worth: int = 0):
        self.events: list[str] = []
        self.means: list[float] = []
        self.worth, self.now = worth, 0

    def stepped(self, step: int) -> None:
        assert step == self.now + 1
        self.now = step

    def rescue(self, error: Exception) -> None:
        self.events.append("rescue")

    def diverged(self, step: int, name: str) -> None:
        raise ArithmeticError(f"{name} at {step}")

    def sample(self, step: int) -> None:
        assert step == self.now
        self.events.append(f"sample {step}")

    def evaluate(self, step: int) -> dict[str, float]:
        assert step == self.now
        self.events.append(f"evaluate {step}")
        return {"metric": 1.0}

    def row(self, means: dict[str, float]) -> bool:
        self.events.append(f"row {self.now}" + (" with metric" if "metric" in means else ""))
        self.means.append(means["value"])
        return self.now == self.worth

    def checkpoint(self) -> None:
        self.events.append(f"checkpoint {self.now}")


def plan(steps: int | None = 10, tick=4, sample=5, checkpoint=100, evaluate=None, minutes=None) -> loop.Plan:
    return loop.Plan(steps, minutes, tick, sample, checkpoint, evaluate)


def run(what: loop.Plan, log: Log, clock=None, stop_at: int = -1, value=float) -> tuple[bool, list[int]]:
    """Step n measures value(n); returns whether the run was finished, and how many batches were prepared each time."""
    meters, clock, prepared = Meters(CPU), clock or loop.Clock(), []
    log.now = clock.step
    meters.steps += clock.step
    step = lambda: meters.add(stats(value=value(log.now + 1)))  # noqa: E731
    finished = loop.train(step, prepared.append, meters, what, clock, log, lambda: log.now == stop_at)
    assert clock.step == log.now
    return finished, prepared


def test_what_happens_when():
    log = Log()
    finished, prepared = run(plan(), log)
    assert finished
    assert log.now == 10
    assert log.events == [
        "sample 0", "row 4", "sample 5", "row 8", "evaluate 10", "row 10 with metric", "sample 10", "checkpoint 10",
    ]  # fmt: skip
    assert log.means == [2.5, 6.5, 9.5]  # of steps 1-4, 5-8, 9-10: each step in exactly one row
    assert prepared == [4, 1, 3, 2]


def test_evaluations_and_checkpoints_in_between():
    log = Log()
    run(plan(steps=6, tick=100, sample=100, checkpoint=2, evaluate=3), log)
    assert log.events == [
        "sample 0", "checkpoint 2", "evaluate 3", "row 3 with metric", "checkpoint 4", "evaluate 6",
        "row 6 with metric", "sample 6", "checkpoint 6",
    ]  # fmt: skip


def test_a_row_worth_keeping_is_kept():
    log = Log(worth=4)
    run(plan(sample=100), log)
    assert [event for event in log.events if "checkpoint" in event] == ["checkpoint 4", "checkpoint 10"]


def test_a_run_resumes_on_the_same_beat():
    """From step 7 everything falls where it would have fallen; nothing is drawn for a step that was trained before."""
    log = Log()
    assert run(plan(), log, loop.Clock(step=7))[0]
    assert log.events == ["row 8", "evaluate 10", "row 10 with metric", "sample 10", "checkpoint 10"]
    log = Log()
    assert run(plan(), log, loop.Clock(step=10)) == (True, [])
    assert log.events == []


@pytest.mark.parametrize("stop_at, last", [(6, "sample 5"), (8, "row 8")])
def test_asked_to_stop_it_finishes_the_step(stop_at, last):
    log = Log()
    assert not run(plan(), log, stop_at=stop_at)[0]
    assert log.now == stop_at
    assert log.events[-1] == last


def test_stop_at_the_very_end_is_the_end():
    log = Log()
    assert run(plan(), log, stop_at=10)[0]
    assert log.events[-1] == "checkpoint 10"


def test_divergence_is_told_at_the_next_tick_with_its_step():
    log = Log()
    with pytest.raises(ArithmeticError, match="value at 6"):
        run(plan(), log, value=lambda n: math.nan if n >= 6 else 1.0)
    assert log.now == 8
    assert "checkpoint" not in " ".join(log.events)


def test_divergence_is_told_of_what_went_first():
    """The others follow it; its name is the one that helps."""
    meters, log = Meters(CPU), Log()

    def step() -> None:
        n = log.now + 1
        meters.add(stats(late=math.nan if n >= 3 else 0.0, early=math.nan if n >= 2 else 0.0, never=0.0))

    with pytest.raises(ArithmeticError, match="early at 2"):
        loop.train(step, lambda n: None, meters, plan(), loop.Clock(), log, lambda: False)


@pytest.mark.parametrize("row_seconds", [0, 3, 10])
@pytest.mark.parametrize("sample_seconds", [0, 3, 10])
def test_budget_in_minutes(monkeypatch, row_seconds, sample_seconds):
    """A step takes a second, and so may looking at it: however the time runs out, the end has everything an end has."""
    seconds = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: seconds[0]))

    class Slow(Log):
        def stepped(self, step: int) -> None:
            super().stepped(step)
            seconds[0] += 1

        def row(self, means: dict[str, float]) -> bool:
            seconds[0] += row_seconds
            return super().row(means)

        def sample(self, step: int) -> None:
            seconds[0] += sample_seconds
            super().sample(step)

    log, clock = Slow(), loop.Clock(step=8, seconds=30.0)  # what was trained before counts too
    assert run(plan(steps=None, minutes=1.0), log, clock)[0]
    at = log.now
    assert log.events[-4:] == [f"evaluate {at}", f"row {at} with metric", f"sample {at}", f"checkpoint {at}"]
    assert clock.seconds == 30 + seconds[0] >= 60
    assert log.events.count(f"checkpoint {at}") == 1


@pytest.mark.parametrize("first", [1, 400])  # seconds that the first step takes: 400 as where it is compiled
@pytest.mark.parametrize("broken_at", [None, 250])
def test_what_goes_by_time_is_spread_over_the_budget(monkeypatch, first, broken_at):
    """The other steps take a second of an hour; a row is due every 36 s, a grid every 90 s, a checkpoint every 6 min.

    What fell due several times meanwhile is done once, and a run that was broken off goes on in the same beat.
    """
    now, log, clock, meters = [0.0], Log(), loop.Clock(), Meters(CPU)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    timed = loop.Plan(None, 60.0, None, None, None, None, None, 36.0, 90.0, 360.0)

    def step() -> None:
        now[0] += 1 if clock.step else first
        meters.add(stats(value=1.0))

    def go(stop_at: int | None = None) -> bool:
        return loop.train(step, lambda n: None, meters, timed, clock, log, lambda: log.now == stop_at)

    if broken_at:
        assert not go(broken_at)
        now[0] += 1e6
    assert go()
    for name, every in (("row", 36), ("sample", 90), ("checkpoint", 360)):
        due = [1] * (first >= every) + [due - first + 1 for due in range(every, 3601, every) if due > first]
        begun = [0] if name == "sample" else []
        assert [int(event.split()[1]) for event in log.events if event.startswith(name)] == begun + due, name


@pytest.mark.parametrize("step, following", [(0, 4), (3, 4), (4, 5), (5, 8), (8, 10), (9, 10)])
def test_next_step_at_which_anything_happens(step, following):
    assert plan().next(step) == following


@pytest.mark.parametrize("bad", [math.nan, -math.inf, None])
def test_weights_that_are_not_finite_are_named(bad: float | None):
    """Among large ones, complex ones, whole numbers and none at all."""
    game = nn.ParameterDict(
        {
            "large": nn.Parameter(torch.tensor([1e300, -1e300], dtype=torch.float64)),
            "complex": nn.Parameter(torch.tensor([1j])),
            "whole": nn.Parameter(torch.tensor([2]), requires_grad=False),
            "empty": nn.Parameter(torch.zeros(0)),
            "odd": nn.Parameter(torch.tensor([0.0, bad or 0.0, 1.0]).bfloat16()),
        }
    )
    parts: Any = SimpleNamespace(game=game)
    assert Assembly.first_bad_weight(parts) == (None if bad is None else "odd")
