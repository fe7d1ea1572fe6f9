"""On a CUDA device: a captured step is the plain step, and a resumed run the uninterrupted one, bit for bit.

All under deterministic=true: some of cuDNN's and torch's other kernels add up in an order of their own each time.
"""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from gantool.commands.assembly import Assembly
from gantool.engine.capture import CudaGraphs
from gantool.engine.rounds import Rounds
from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.runs import checkpoint
from test_no_sync import OBJECTIVES, TRICKS, UPDATES, config, options, refused_with_reason
from toys import plain

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]
ROUNDS = 6  # three are rehearsals
CUDA = ["device=cuda", "deterministic=true", "dataset=digits", "steps=20"]


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
@pytest.mark.parametrize("graph", ["auto", "off"])
def test_resumed_equals_uninterrupted_on_cuda(compose: Any, tmp_path: Path, architecture: str, graph: str) -> None:
    made = plain(compose(*CUDA, "trick=[ema,gradient_penalty]", f"architecture={architecture}", f"graph={graph}"))
    whole = play(Assembly(made), 12)
    checkpoint.save(tmp_path / "five.pt", play(Assembly(made), 5).state_dict())
    resumed = Assembly(made)
    resumed.load_state_dict(checkpoint.load(tmp_path / "five.pt"))
    play(resumed, 7)
    assert_same(whole, resumed)


@pytest.mark.parametrize("trick", [None, *TRICKS])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_captured_equals_eager(compose: Any, objective: str, trick: str | None) -> None:
    """Every objective with every trick; the updates in turn, so that each meets every objective and every trick."""
    number = OBJECTIVES.index(objective) + [None, *TRICKS].index(trick)
    update = f"update={UPDATES[number % len(UPDATES)]}"
    made = config(compose, "images", (trick,) if trick else (), f"objective={objective}", update, *CUDA)
    if refused_with_reason(made, "images"):
        pytest.skip("they do not go together")
    assert_captured_equals_eager(made)


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_all_captured_equal_eager(compose: Any, objective: str, update: str) -> None:
    for names in [(), *((trick,) for trick in TRICKS)]:
        made = config(compose, "images", names, f"objective={objective}", f"update={update}", *CUDA)
        if not refused_with_reason(made, "images"):
            assert_captured_equals_eager(made)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_optimizer_is_captured(compose: Any, optimizer: str, precision: str) -> None:
    chosen = (f"optimizer={optimizer}", f"precision={precision}", "optimizer.generator.schedule.kind=linear", *CUDA)
    assert_captured_equals_eager(config(compose, "images", ("gradient_clipping",), *chosen))


def test_each_kind_of_round_is_captured(compose: Any) -> None:
    made = plain(compose(*CUDA, "trick=[gradient_penalty]", "trick.gradient_penalty.every=2"))
    assert_captured_equals_eager(made, rounds=12, kinds=2)


def test_streamed_batches_are_those_on_the_device(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured, and through many halves of the ring: a copy that came too late or too early would show."""
    monkeypatch.setattr("gantool.engine.streamed.STEPS", 2)
    ends = []
    for data in ("device", "stream"):
        ends.append(play(Assembly(plain(compose(*CUDA, f"data={data}", "trick=[gradient_penalty]"))), 40))
        assert ends[-1].way == "CUDA graphs"
    assert_same(*ends)


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
def test_a_compiled_step_is_captured_and_leads_where_the_plain_one_does(compose: Any, architecture: str) -> None:
    """Not in a bias before BatchNorm, whose gradient is rounding alone. In float32, two steps after the first.

    Sixteen features are enough that the images' convolutions are written out as products.
    """
    widths = [f"architecture.{net}.features=16" for net in ("generator", "discriminator") if architecture == "dcgan"]
    chosen = ("device=cuda", "dataset=digits", "precision=fp32", "trick=[ema]", "optimizer=sgd")
    made = plain(compose(*chosen, f"architecture={architecture}", *widths))
    compiled, plainly = (play(Assembly(made | {"compile": how}), ROUNDS) for how in ("step", "off"))
    assert compiled.way == "compiled and CUDA graphs"
    assert [len(rounds.records) for rounds in compiled.recorded.values()] == [1, 1]
    mine, theirs = state(compiled), state(plainly)
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_pictures_between_replays_change_nothing(compose: Any) -> None:
    made = plain(compose(*CUDA, "trick=[ema]"))
    plainly, seen = play(Assembly(made), 8), Assembly(made)
    for _ in range(8):
        play(seen, 1)
        seen.grid()
        seen.diversity()
        seen.meters.read()
    assert_same(plainly, seen)


class Waiting(Trick):
    """Waits for the device in each round, or first in the fourth, when it is captured."""

    def __init__(self, first: int):
        super().__init__()
        self.rounds, self.first = 0, first

    def after_round(self, nets: torch.nn.ModuleDict) -> None:
        self.rounds += 1
        if self.rounds > self.first:
            float(next(nets["generator"].parameters()).sum())


@pytest.mark.parametrize("first", [0, 3], ids=["seen in rehearsal", "breaks a capture"])
def test_what_waits_is_played_as_it_stands(compose: Any, first: int, caplog: Any) -> None:
    made = plain(compose(*CUDA, "trick=[gradient_penalty]"))
    plainly = play(Assembly(made | {"graph": "off"}), 8)
    parts = Assembly(made)
    parts.game.hooks["waiting"] = Waiting(first)
    with caplog.at_level(logging.INFO):
        play(parts, 8)
    assert_same(plainly, parts)
    (line,) = [record.message for record in caplog.records if "CUDA graphs" in record.message]
    assert ("waits for the device" if first == 0 else "a capture failed") in line
    assert_captured_equals_eager(made)  # nothing of it is left behind


class Counting(Trick):
    """Goes by how often it was called, which it keeps in Python."""

    count = 0

    def g_penalty(self, turn: Any, on_fake: Any) -> torch.Tensor:
        self.count += 1
        return self.count * on_fake.logits.mean()


class AnyOrder(Trick):
    """Needs a kernel that writes in no certain order."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1, device="cuda"))

    def g_penalty(self, turn: Any, on_fake: Any) -> torch.Tensor:
        logits = on_fake.logits.detach().flatten()
        self.last.put_(torch.zeros(len(logits), dtype=torch.int64, device="cuda"), logits)
        return on_fake.logits.mean()


@pytest.mark.parametrize("deterministic", [False, True])
def test_what_goes_by_more_than_tensors_is_not_captured(compose: Any, deterministic: bool) -> None:
    parts = Assembly(plain(compose(*CUDA, f"deterministic={deterministic}", "trick=[ema]")))
    parts.game.hooks["counting"] = Counting()
    assert "the same step, played again, moves" in str(play(parts, 5).recorded["CUDA graphs"].reason)


def test_a_kernel_of_no_certain_order_is_captured(compose: Any) -> None:
    parts = Assembly(plain(compose(*CUDA, "deterministic=false")))
    parts.game.hooks["any_order"] = AnyOrder()
    assert play(parts, 5).way == "CUDA graphs"


def assert_captured_equals_eager(made: dict[str, Any], rounds: int = ROUNDS, kinds: int = 1) -> None:
    try:
        captured = play(Assembly(copy.deepcopy(made)), rounds)
    except UsageError:
        return
    assert isinstance(captured.rounds, Rounds)
    assert isinstance(captured.rounds.recorder, CudaGraphs)
    assert captured.rounds.reason is None
    assert len(captured.rounds.records) == kinds
    assert_same(play(Assembly(copy.deepcopy(made) | {"graph": "off"}), rounds), captured)


def assert_same(one: Assembly, other: Assembly) -> None:
    """All that a checkpoint holds of the device's state."""
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    assert not [name for name, value in mine.items() if not torch.equal(value, theirs[name])]


def state(parts: Assembly) -> dict[str, torch.Tensor]:
    found = {name: value.clone() for name, value in parts.game.state_dict().items()}
    for name, part in (("d", parts.d), ("g", parts.g), ("meters", parts.meters)):
        found |= {f"{name}/{key}": value.clone() for key, value in part.tensors().items()}
    return found


def play(parts: Assembly, steps: int) -> Assembly:
    for _ in range(steps):
        parts.prepare(1)
        parts.step()
        parts.clock.step += 1
    return parts
