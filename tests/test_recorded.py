"""A round that is recorded once and replayed is the round itself, bit for bit: what a CUDA graph relies on, on the CPU.

A round is traced as a list of operations on tensors, in which everything that Python decided is fixed, and the list is
run for further rounds beside the rounds themselves. A counter or a factor in a Python number, a tensor that a round
replaces instead of writing to, an optimiser that counts on the host: each makes the two differ.
"""

import copy
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from gantool.commands.assembly import Assembly
from gantool.engine.meters import Meters
from gantool.engine.repeated import repeated
from gantool.engine.rounds import Rounds, Unfit
from gantool.engine.state import State
from gantool.engine.trace import traced
from gantool.game.hooks import Trick
from gantool.game.updates import Alternating
from gantool.tricks.instance_noise import InstanceNoise
from test_no_sync import OBJECTIVES, TRICKS, UPDATES, built, config, options, refused_with_reason
from toys import bilinear, plain, players

LATER = 3  # rounds that the record is tried on


@pytest.fixture(autouse=True)
def no_stacks(monkeypatch) -> None:
    """torch.fx notes the Python stack at each operation, which takes a third of the time."""
    whole, none = traceback.extract_stack, traceback.StackSummary()
    monkeypatch.setattr(traceback, "extract_stack", lambda f=None, limit=None: whole(f, limit) if limit else none)


class Traced:
    """A recorder that works everywhere."""

    name = "a trace"
    rehearsals = 1

    def __init__(self, state: State):
        self.state, self.recorded = state, 0

    def rehearse(self, play: Callable[[], None], last: bool) -> None:
        play()

    def record(self, play: Callable[[], None]) -> Callable[[], None]:
        saved, self.recorded = self.state.copy(), self.recorded + 1
        try:
            module, tensors = traced(play, list(self.state.tensors().values()))
        except RuntimeError as error:
            raise Unfit(str(error)) from error
        finally:
            self.state.put_back(saved)

        def replay() -> None:
            with torch.no_grad():
                module(*tensors)

        return replay


def assert_replays(state: State, play: Callable[[], None], play_recorded: Callable[[], None]) -> None:
    """From the same state on, LATER rounds lead to the same state either way, and every tensor stays where it is."""
    saved, place = state.copy(), state.place()
    for _ in range(LATER):
        play()
    assert state.moved(place) is None
    played = state.copy()
    state.put_back(saved)
    for _ in range(LATER):
        play_recorded()
    replayed = state.copy()
    different = [name for name, value in played.tensors.items() if not torch.equal(value, replayed.tensors[name])]
    assert not different
    assert any(not torch.equal(value, saved.tensors[name]) for name, value in played.tensors.items())
    assert torch.equal(played.rng["cpu"], replayed.rng["cpu"])


def assert_combination_replays(made: dict[str, Any], kind: str) -> None:
    torch.manual_seed(0)
    game, d, g, update = built(made, kind)
    game.source.reserve((1 + LATER) * update.real_batches(game))
    game.source.prepare((1 + LATER) * update.real_batches(game))
    meters = Meters(torch.device("cpu"))
    state = State(game, {"d": d, "g": g}, meters, torch.device("cpu"), update)

    def play() -> None:
        meters.add(update(game, d, g))

    game.begin(0)
    play()
    repeated(state, play, state.copy())  # Unfit would keep it from being recorded
    assert_replays(state, play, Traced(state).record(play))


def combinations(compose, kind: str, tricks: list[tuple[str, ...]], *overrides: str) -> Iterator[dict[str, Any]]:
    """As they are listed, but for those that are refused."""
    for names in tricks:
        made = config(compose, kind, names, *overrides)
        if not refused_with_reason(made, kind):
            yield made


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective(compose, objective):
    bounded = [(), ("weight_clipping",)]
    made = next(combinations(compose, "points", bounded, f"objective={objective}", "update=alternating"))
    assert_combination_replays(made, "points")


@pytest.mark.parametrize("trick", TRICKS)
def test_every_trick(compose, trick):
    """With the first objective that it can be played with."""
    both = (made for objective in ["non_saturating", *OBJECTIVES]
            for made in combinations(compose, "images", [(trick,)], f"objective={objective}"))  # fmt: skip
    assert_combination_replays(next(both), "images")


@pytest.mark.parametrize("update", UPDATES)
def test_every_update(compose, update):
    """With all that has a clock of its own."""
    tricks, scheduled = ("ema", "gradient_penalty", "historical_averaging"), "optimizer.generator.schedule.kind=linear"
    made = next(combinations(compose, "points", [tricks], f"update={update}", "objective=minimax", scheduled))
    assert_combination_replays(made, "points")


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_optimizer(compose, optimizer):
    assert_combination_replays(config(compose, "points", (), f"optimizer={optimizer}"), "points")


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trick_and_update(compose, objective, update):
    for kind in ("points", "images"):
        tricks = [(), *((trick,) for trick in TRICKS)]
        for made in combinations(compose, kind, tricks, f"objective={objective}", f"update={update}"):
            assert_combination_replays(made, kind)


# ---------------------------------------------------------------- that it would show


class Counting(Trick):
    """Breaks the rule: how often it was called is a Python number."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def g_penalty(self, turn, on_fake):
        self.count += 1
        return self.count * on_fake.logits.mean()


class Replacing(Trick):
    """Breaks the rule: a buffer is replaced, not written to."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def after_round(self, nets):
        self.seen = self.seen + 1


class Waiting(Trick):
    """Breaks the rule: a tensor's value decides."""

    def after_round(self, nets):
        if nets["generator"].x.detach() > 0:
            nets["generator"].x.mul_(0.5)


def duel(trick: Trick) -> tuple[State, Callable[[], None]]:
    game = bilinear(1.0, 1.0, {"trick": trick})
    d, g = players(game, 0.1)
    update, meters = Alternating(), Meters(torch.device("cpu"))
    return State(game, {"d": d, "g": g}, meters, torch.device("cpu")), lambda: meters.add(update(game, d, g))


def test_a_trick_that_keeps_the_rules_passes():
    state, play = duel(InstanceNoise(0.1))
    play()
    assert_replays(state, play, Traced(state).record(play))


@pytest.mark.parametrize("trick", [Counting, Replacing])
def test_a_trick_that_breaks_them_is_found(trick):
    state, play = duel(trick())
    play()
    record = Traced(state).record(play)
    with pytest.raises(AssertionError):
        assert_replays(state, play, record)


# ---------------------------------------------------------------- how rounds are recorded


def test_what_cannot_be_recorded_is_played(caplog):
    """Nothing is lost and nothing played twice: it ends where the rounds themselves end, and one line says why."""
    ended = []
    for recorded in (False, True):
        state, play = duel(Waiting())
        rounds = Rounds(lambda kind, play=play: play(), Traced(state)) if recorded else lambda kind, play=play: play()
        with caplog.at_level(logging.INFO):
            for _ in range(4):
                rounds(None)
        ended.append(state.copy().tensors)
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())
    assert [record.message.partition(":")[0] for record in caplog.records] == ["rounds are played without a trace"]


def test_each_kind_of_round_has_its_own_record(compose):
    """A lazy penalty, a run through the real configuration, stopped and gone on with: bit for bit the plain run."""
    made = plain(compose("trick=[gradient_penalty,ema]", "trick.gradient_penalty.every=3", "batch_size=4", "steps=12",
                         "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]"))  # fmt: skip
    by_itself, recorded = play(Assembly(made), 12), trace(Assembly(made))
    play(recorded, 7)
    assert sorted(recorded.rounds.records) == [(None, False, None), (None, True, None)]
    saved = copy.deepcopy(recorded.state_dict())
    resumed = Assembly(made)
    resumed.load_state_dict(saved)
    play(trace(resumed), 5)
    for name, value in by_itself.game.state_dict().items():
        assert torch.equal(value, resumed.game.state_dict()[name]), name


def trace(parts: Assembly) -> Assembly:
    state = State(parts.game, {"d": parts.d, "g": parts.g}, parts.meters, parts.device)
    parts.rounds = Rounds(lambda kind: parts.round(), Traced(state))
    return parts


def play(parts: Assembly, steps: int) -> Assembly:
    for _ in range(steps):
        parts.prepare(1)
        parts.step()
        parts.clock.step += 1
    return parts
