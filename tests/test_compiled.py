"""A compiled round equals the plain one but for rounding; without a compiler the plain one is played.

The bound: float32 keeps 6e-8 of a number; sums of some hundred terms in another order, through ROUNDS rounds in which
each starts from the last one's weights, keep 1e-4 of the largest.
"""

import copy
import logging
import math
import random
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor.output_code import CompiledFxGraph

from gantool.architectures import mlp
from gantool.commands.assembly import Assembly
from gantool.engine import compiled, written_out
from gantool.engine.compiled import Compiler
from gantool.engine.meters import Meters
from gantool.engine.repeated import Way, apart
from gantool.engine.rounds import Rounds
from gantool.engine.state import Saved, State
from gantool.engine.trace import traced
from gantool.engine.written_out import WRITTEN_OUT
from gantool.errors import UsageError
from gantool.game.player import Player
from gantool.game.updates import Alternating
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.instance_noise import InstanceNoise
from test_no_sync import OBJECTIVES, TRICKS, UPDATES, config, refused_with_reason
from toys import bilinear, plain, players

ROUNDS = 4
CLOSE = 1e-4
ROUNDING = 1e-6  # of float32 sums that cancel: the gradient of a critic's last bias is nothing else
CPU = torch.device("cpu")

OPTIONS = {
    torch.optim.Adam: {"amsgrad": [False, True], "weight_decay": [0.0, 0.1], "maximize": [False, True]},
    torch.optim.AdamW: {"amsgrad": [False, True], "weight_decay": [0.0, 0.1]},
    torch.optim.SGD: {"momentum": [0.0, 0.9], "weight_decay": [0.0, 0.1], "maximize": [False, True]},
}
CASES = [
    (kind, dict(zip(options, values, strict=True)))
    for kind, options in OPTIONS.items()
    for values in product(*options.values())
]
CASES.append((torch.optim.SGD, {"momentum": 0.9, "nesterov": True}))
CASES.append((torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}))


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_optimizers_written_out_are_the_fused_ones(kind, options):
    """Against torch's own kernels, from the second step on, as the first makes the moments."""
    grads = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    fused, written_out = (moved(partial(kind, lr=0.1, **options), grads, each) for each in (False, True))
    torch.testing.assert_close(written_out, fused, rtol=1e-6, atol=1e-7)


def moved(optimizer, grads: torch.Tensor, written_out: bool) -> torch.Tensor:
    """Where a weight is after a step for each row of `grads`; only the second is traced."""
    weight, grad = nn.Parameter(torch.linspace(-1, 1, 8)), grads[0].clone()
    player = Player([weight], optimizer)

    def step() -> None:
        player.apply([grad.clone()])

    step()
    grad.copy_(grads[1])
    if written_out:
        module, tensors = traced(step, [grad, *player.tensors().values()], WRITTEN_OUT)
        assert not [node for node in module.graph.nodes if "fused" in str(node.target)]
    else:
        step()
    for each in grads[2:]:
        grad.copy_(each)
        with torch.no_grad():
            module(*tensors) if written_out else step()
    return weight.detach().clone()


@pytest.mark.parametrize(("n", "k", "m"), [(3, 4, 5), (5, 4, 3), (3, 1, 5), (3, 4, 1), (1, 4, 5), (1, 4, 1)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_layers_are_products_and_biases(n, k, m, dtype):
    """Forward and on the way back, against the same in float64, of numbers that bfloat16 holds."""
    torch.manual_seed(0)
    given, weight, bias, grad = (torch.randn(*shape).to(dtype) for shape in ((n, k), (m, k), (m,), (n, m)))

    def layer(given, weight, bias, grad):
        leaves = [each.detach().requires_grad_() for each in (given, weight, bias)]
        made = torch.nn.functional.linear(*leaves)
        return made.detach(), *torch.autograd.grad(made, leaves, grad)

    ends: list[torch.Tensor] = []
    module, tensors = traced(lambda: ends.extend(layer(given, weight, bias, grad)), [given], WRITTEN_OUT)
    assert not [node for node in module.graph.nodes if "addmm" in str(node.target)]
    theirs = layer(*(each.double() for each in (given, weight, bias, grad)))
    for mine, exact in zip(ends, theirs, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(
            mine.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps
        )


def duel(seed: int = 0) -> tuple[State, Rounds]:
    torch.manual_seed(seed)
    game = bilinear(1.0, 1.0, {"noise": InstanceNoise(0.1)})
    d, g = players(game, 0.1, torch.optim.Adam)
    update, meters = Alternating(), Meters(CPU)
    state = State(game, {"d": d, "g": g}, meters, CPU)
    return state, Rounds(lambda kind: meters.add(update(game, d, g)), Compiler(state))


def compiler_works() -> bool:
    try:
        return bool(torch._inductor.compile(torch.fx.symbolic_trace(lambda x: (x + 1,)), [torch.ones(3)]))
    except Exception:
        return False


def test_a_compiled_game_is_the_plain_one(caplog, monkeypatch):
    """With random numbers, which are the same. The first round is played as it stands: it makes the moments.

    Once it is compiled, torch's own Python is passed by.
    """
    if not compiler_works():
        pytest.skip("there is no C++ compiler here")
    ends = []
    for recorded in (True, False):
        state, rounds = duel()
        rounds.reason = None if recorded else "not wanted"
        with caplog.at_level(logging.INFO):
            for step in range(ROUNDS):
                rounds(None)
                assert bool(rounds.records) == (recorded and step > 0)
                monkeypatch.setattr(CompiledFxGraph, "__call__", refused) if rounds.records else None
        ends.append(state.copy())
    assert_close(*ends)
    assert torch.equal(ends[0].rng["cpu"], ends[1].rng["cpu"])
    assert [line.partition(" ")[0] for line in told(caplog)] == ["compiling", "compiled"]


def refused(*_):
    raise AssertionError("torch's own Python was entered")


def told(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("gantool")]


def assert_all_is_as_if_nobody_had_wished_to_compile(caplog) -> None:
    ends = []
    for wished in (True, False):
        state, rounds = duel()
        rounds.reason = None if wished else "not wanted"
        with caplog.at_level(logging.INFO):
            for _ in range(ROUNDS):
                rounds(None)
        ends.append(state.copy())
    assert all(torch.equal(value, ends[1].tensors[name]) for name, value in ends[0].tensors.items())


def test_without_a_compiler_rounds_are_played(monkeypatch, caplog):
    """Nothing is lost: all is as if nobody had wished to compile, and one line tells."""

    def fails(*args, **kwargs):
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(compiled, "compile_round", fails)
    assert_all_is_as_if_nobody_had_wished_to_compile(caplog)
    assert told(caplog)[-1].endswith("without compilation: RuntimeError: No working C++ compiler found and much more")


def test_rounds_that_make_a_tensor_anew_are_not_tried_for_ever(caplog):
    """Each try costs two copies of the state."""
    state, rounds = duel()
    state.game.register_buffer("mean", torch.zeros(2))
    step = rounds.play

    def renewing(kind):
        step(kind)
        state.game.mean = state.game.mean + 1

    rounds.play = renewing
    with caplog.at_level(logging.INFO):
        for _ in range(6):
            rounds(None)
    assert "anew, instead of writing to it" in told(caplog)[-1]
    assert state.game.mean.tolist() == [6, 6]


def forgets(module, tensors, options):
    return lambda: ()


def spoils(module, tensors, options):
    """The round, but for one of its parameters, not the first."""

    def run():
        module(*tensors)
        [each for each in tensors if each.is_floating_point()][1].fill_(math.nan)

    return run


@pytest.mark.parametrize("compiler", [forgets, spoils])
def test_a_compiler_that_is_wrong_is_found(monkeypatch, caplog, compiler):
    """All is as if nobody had wished to compile."""
    monkeypatch.setattr(compiled, "compile_round", compiler)
    assert_all_is_as_if_nobody_had_wished_to_compile(caplog)
    assert "elsewhere" in told(caplog)[-1]


class Sometimes:
    """Compiles a round that forgets everything in one of its calls."""

    def __init__(self, wrong: int):
        self.wrong, self.calls = wrong, 0

    def __call__(self, module, tensors, options):
        def run():
            self.calls += 1
            return () if self.calls == self.wrong else module(*tensors)

        return run


@pytest.mark.parametrize("wrong", [2, 3, 4])
def test_what_is_wrong_now_and_then_is_found(monkeypatch, caplog, wrong):
    monkeypatch.setattr(compiled, "compile_round", Sometimes(wrong))
    monkeypatch.setattr(compiled, "MORE", {})  # one try
    assert_all_is_as_if_nobody_had_wished_to_compile(caplog)
    assert "elsewhere" in told(caplog)[-1]


def test_in_the_first_call_kernels_may_be_tried(monkeypatch):
    """It is not judged, and leaves nothing behind."""
    monkeypatch.setattr(compiled, "compile_round", Sometimes(wrong=1))
    ends = []
    for wished in (True, False):
        state, rounds = duel()
        rounds.reason = None if wished else "not wanted"
        for _ in range(ROUNDS):
            rounds(None)
        assert bool(rounds.records) == wished
        ends.append(state.copy())
    assert_close(*ends)
    assert torch.equal(ends[0].rng["cpu"], ends[1].rng["cpu"])


@pytest.mark.parametrize("device", compiled.MORE)
def test_what_is_wrong_when_compiled_boldly_is_compiled_more_plainly(monkeypatch, caplog, device):
    monkeypatch.setattr(compiled, "MORE", {"cpu": compiled.MORE[device]})
    bold = {"cpu": "cpp_wrapper", "cuda": "combo_kernels"}[device]
    seen = []

    def compiler(module, tensors, options):
        seen.append(options["fallback_random"] and options.get(bold, False))
        return forgets(module, tensors, options) if options.get(bold) else lambda: module(*tensors)

    monkeypatch.setattr(compiled, "compile_round", compiler)
    state, rounds = duel()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            rounds(None)
    assert seen == [True, False] and rounds.records
    assert [line for line in told(caplog) if "once more" in line and "elsewhere" in line]


NORMALISED = (
    "device=cpu", "compile=step", "precision=bf16", "architecture.generator.hidden=[16,16]",
    "architecture.generator.normalization=batch", "architecture.discriminator.hidden=[8]",
)  # fmt: skip


def test_what_rounding_alone_does_is_not_refused(compose, caplog):
    """Adam takes the gradient of a bias before BatchNorm, which is rounding and nothing else, for a direction.

    With a row a step there is room for the data of one step only, which no step that is tried on the way may leave.
    """
    if not compiler_works():
        pytest.skip("there is no C++ compiler here")
    with caplog.at_level(logging.INFO):
        parts = played(Assembly(plain(compose(*NORMALISED, "tick_every=1"))), 3)
    assert parts.rounds.records and parts.way == "compiled"
    assert [line.partition(" ")[0] for line in told(caplog)] == ["compiling", "compiled"]


def test_a_tensor_that_became_infinite_hides_none_of_its_kind():
    """One of two weights goes another way; in the other both ways end at infinity."""

    def led(one: float, other: float) -> Saved:
        return Saved({"d.net.0.weight": torch.full((3,), one), "d.net.1.weight": torch.full((3,), other)}, {})

    way = Way(led(0.0, 0.0), led(1.0, math.inf), led(1.001, math.inf))
    assert apart(way, led(1.001, math.inf)) is None
    assert (apart(way, led(-1.0, math.inf)) or "").startswith("d.net.0.weight elsewhere")


@pytest.mark.filterwarnings("error")
def test_a_complex_tensor_that_turns_elsewhere_is_told():
    """Its real part is right."""

    def led(to: complex) -> Saved:
        return Saved({"d.net.0.weight": torch.full((3,), to)}, {})

    way = Way(led(0j), led(1j), led(1.001j))
    assert apart(way, led(1.001j)) is None
    assert apart(way, led(-1j)) is not None


def test_other_random_numbers_are_refused_all_the_same(compose, monkeypatch, caplog):
    """As a compiler draws them that does not keep the order of the draws."""

    def drawing(module, tensors, options):
        return lambda: (torch.rand(1), module(*tensors))[1]

    monkeypatch.setattr(compiled, "compile_round", drawing)
    with caplog.at_level(logging.INFO):
        parts = played(Assembly(plain(compose(*NORMALISED))), 3)
    assert "elsewhere" in told(caplog)[-1] and parts.way == "eager"


@pytest.mark.parametrize("step", [1, 2, 1000, 100_000])
@pytest.mark.parametrize("beta", [0.5, 0.999])
def test_adam_written_out_is_adam(step, beta):
    """Against algorithm 1 of Kingma and Ba (2014) in float64, from moments of any step."""
    generator = torch.Generator().manual_seed(step)
    weight, grad, mean = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    weight = weight / 1000  # next to the step, so that this is what is compared
    square, eps = torch.rand(50, generator=generator, dtype=torch.float64), 1e-8
    moved = [each.float() for each in (weight, grad, mean, square)]
    mean = 0.9 * mean + 0.1 * grad
    square = beta * square + (1 - beta) * grad**2
    weight = weight - 0.01 * (mean / (1 - 0.9**step)) / ((square / (1 - beta**step)).sqrt() + eps)
    options = dict(lr=0.01, beta1=0.9, beta2=beta, weight_decay=0.0, eps=eps, amsgrad=False, maximize=False)
    written_out._adam(*([each] for each in moved), [], [torch.tensor(float(step))], **options)
    for ours, expected in zip((moved[0], *moved[2:]), (weight, mean, square), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("overrides", "way"),
    [
        (["steps=100000"], "compiled"),  # where it pays
        (["steps=100000", "architecture=dcgan"], "eager"),  # convolutions are as fast without
        (["steps=1000"], "eager"),
        (["steps=1000", "compile=step"], "compiled"),
        (["steps=100000", "compile=off"], "eager"),
        (["minutes=1"], "eager"),  # nobody knows how many steps
        (["minutes=1", "steps=100000"], "eager"),
    ],
)
def test_who_is_compiled(compose, overrides, way):
    assert Assembly(plain(compose("device=cpu", *overrides))).way == way


@pytest.mark.parametrize(
    ("steps", "deterministic", "expected"), [(100_000, False, True), (50_000, False, False), (100_000, True, False)]
)
def test_who_is_compiled_on_a_gpu(monkeypatch, steps, deterministic, expected):
    """Convolutions too; but kernels that are chosen by their time do not repeat a run bit for bit."""
    monkeypatch.setattr("torch.are_deterministic_algorithms_enabled", lambda: deterministic)
    nets, gpu = nn.Sequential(nn.Conv2d(3, 8, 3)), torch.device("cuda")
    assert compiled.is_wanted("auto", steps, nets, gpu) == expected
    assert not compiled.is_wanted("off", steps, nets, gpu)
    if deterministic:
        with pytest.raises(UsageError, match="compile=step takes the fastest kernels"):
            compiled.is_wanted("step", steps, nets, gpu)


def test_the_choice_is_the_same_when_a_run_is_resumed(compose):
    """It is made by the whole budget, not by what is left of it: eager and compiled steps differ by rounding."""
    parts = Assembly(plain(compose("device=cpu", f"steps={compiled.PAYS_FROM['cpu']}")))
    state = parts.state_dict() | {"step": compiled.PAYS_FROM["cpu"] - 1}
    parts.load_state_dict(state)
    assert parts.way == "compiled"


def assert_close(one, other) -> None:
    for name, value in one.tensors.items():
        scale = float(value.double().abs().max()) if value.numel() else 0.0
        torch.testing.assert_close(
            value.double(), other.tensors[name].double(), rtol=0, atol=CLOSE * scale + ROUNDING, msg=name
        )


def played(parts: Assembly, steps: int) -> Assembly:
    for _ in range(steps):
        parts.prepare(1)
        parts.step()
        parts.clock.step += 1
    return parts


def ends(made, compile_: str):
    parts = played(Assembly(made | {"compile": compile_}), ROUNDS)
    if compile_ == "step":  # torch's compiler fails on two rounds of update=unrolled (2.14): they are played, not wrong
        assert parts.way == "compiled" or "Cannot view a tensor" in parts.rounds.reason, parts.rounds.reason
    return State(parts.game, {"d": parts.d, "g": parts.g}, parts.meters, CPU).copy()


@pytest.mark.slow
def test_resumed_equals_uninterrupted_when_compiled(compose):
    """Bit for bit: the first step of a resumed run is compiled too, as it was in the run that went on."""
    made = plain(compose("device=cpu", "compile=step", "trick=[ema]", "architecture.discriminator.hidden=[8]"))
    whole = played(Assembly(made), 6)
    saved = copy.deepcopy(played(Assembly(made), 3).state_dict())
    resumed = Assembly(made)
    resumed.load_state_dict(saved)
    played(resumed, 3)
    ended = whole.game.state_dict()
    assert not [name for name, value in resumed.game.state_dict().items() if not torch.equal(value, ended[name])]


# unrolled D must be one, and its weights not be clipped
REFUSED = [("mmd", "unrolled"), ("wasserstein", "unrolled"), ("wgan", "unrolled")]


def compiled_as_plain(configs: Iterable[dict[str, Any]]) -> bool:
    """Ends the first of them that is not refused alike, compiled and not? False where all are refused."""
    for made in configs:
        with suppress(UsageError):
            if not refused_with_reason(made, "images"):
                assert_close(ends(made, "step"), ends(made, "off"))
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_and_update_compiled(compose, objective, update):
    settings = (f"objective={objective}", f"update={update}", *SMALL)
    configs = (config(compose, "images", names, *settings) for names in ((), ("weight_clipping",)))
    assert compiled_as_plain(configs) == ((objective, update) not in REFUSED)


@pytest.mark.slow
@pytest.mark.parametrize("trick", TRICKS)
def test_every_trick_compiled(compose, trick):
    objectives = ("non_saturating", *OBJECTIVES)
    assert compiled_as_plain(config(compose, "images", (trick,), f"objective={one}", *SMALL) for one in objectives)


class Warm(NonSaturating):
    """Its loss grows with the calls, which it counts in Python."""

    calls = 0

    def d_loss(self, turn, on_real, on_fake):
        self.calls += 1
        return min(1.0, self.calls / 10) * super().d_loss(turn, on_real, on_fake)


class Remembers(NonSaturating):
    """A running mean that is no buffer."""

    mean = 0.0

    def g_loss(self, turn, on_fake):
        loss = super().g_loss(turn, on_fake)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss + self.mean * on_fake.logits.mean()


class OtherNumbers(NonSaturating):
    def g_loss(self, turn, on_fake):
        return super().g_loss(turn, on_fake) * (1 + random.random())


class Baked(mlp.Discriminator):
    """Numbers that leave torch on their way: to a tracer they are constants."""

    def forward(self, image, label):
        verdict = super().forward(image, label)
        sign = torch.from_numpy(np.sign(np.sin(100 * verdict.logits.detach().numpy())))  # another for each example
        return verdict._replace(logits=verdict.logits * sign)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Warm, "each step changes objective.calls, which is no buffer"),
        (Remembers, "the same step, played again, moves"),
        (OtherNumbers, "the same step, played again, moves"),
    ],
)
def test_what_goes_by_more_than_tensors_is_not_compiled(compose, objective, said):
    made = plain(compose("device=cpu", "compile=step", "dataset=digits"))
    own = {"_target_": f"{__name__}.{objective.__name__}"}
    parts = played(Assembly(made | {"objective": own, "trust": [__name__]}), 5)
    assert parts.way != "compiled" and said in parts.rounds.reason, parts.rounds.reason


@pytest.mark.slow
def test_what_leaves_torch_on_its_way_is_not_compiled(compose):
    """It leads to the same end each time, but with other random numbers to another than the compiled step does."""
    made = plain(compose("device=cpu", "compile=step", "dataset=digits"))
    made["architecture"]["discriminator"]["_target_"] = f"{__name__}.Baked"
    parts = played(Assembly(made | {"trust": [__name__]}), 2)
    assert parts.way != "compiled" and "elsewhere" in parts.rounds.reason, parts.rounds.reason


SMALL = [
    "device=cpu", "dataset=digits", "precision=fp32", "optimizer=sgd",  # Adam would make rounding of 0 a step
    "optimizer.generator.lr=1e-3", "optimizer.discriminator.lr=1e-3",  # consensus diverges at more
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tanh_is_written_out_within_rounding(dtype: torch.dtype):
    given = torch.cat([torch.linspace(-12, 12, 100_001), torch.tensor([1e-30, -200.0, 200.0, math.inf, -math.inf])])
    given = given.to(dtype)
    tanh = WRITTEN_OUT[torch.ops.aten.tanh.default]
    exact = given.double().tanh()
    apart = (tanh(given).double() - exact).abs()
    assert tanh(given).dtype == dtype
    assert (apart <= 4 * 2.0**-24 + exact.abs() * (2.0**-8 if dtype == torch.bfloat16 else 0)).all()
    assert tanh(torch.tensor([math.nan], dtype=dtype)).isnan().all()
    assert tanh(torch.zeros(1, dtype=torch.float64)) is NotImplemented
