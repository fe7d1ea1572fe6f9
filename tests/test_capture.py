"""What the host does around a capture: a CUDA that only writes down what it is asked. For the device: test_gpu.py."""

import contextlib
import itertools
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gantool.commands.assembly import Assembly
from gantool.engine.capture import WAITS, CudaGraphs
from gantool.engine.meters import Meters
from gantool.engine.repeated import _one_order
from gantool.engine.rounds import Rounds, Unfit
from gantool.engine.state import State
from gantool.game.hooks import Trick
from gantool.game.player import Player
from gantool.game.updates import Alternating
from toys import bilinear, plain, players

CPU = torch.device("cpu")


class Cuda:
    """As far as gantool asks for it. A graph replays what was played within it; a broken capture raises at its end."""

    def __init__(self):
        self.log: list[str] = []
        self.current, self.mode, self.broken = "default", 0, False

    def Stream(self, device):  # noqa: N802
        return SimpleNamespace(wait_stream=lambda other: self.log.append("capture's stream waits"))

    def graph_pool_handle(self):
        return "pool"

    def current_stream(self, device):
        return SimpleNamespace(wait_stream=lambda other: self.log.append("waits for capture's stream"))

    def set_stream(self, stream):
        self.log.append("stream is set")

    def CUDAGraph(self):  # noqa: N802
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextlib.contextmanager
    def stream(self, stream):
        self.log.append("on capture's stream")
        yield

    @contextlib.contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.log.append(f"capture into {pool}, {capture_error_mode}")
        try:
            yield
        finally:
            if self.broken:
                raise RuntimeError("the capture was invalidated\nand much more")

    def get_sync_debug_mode(self):
        return self.mode

    def set_sync_debug_mode(self, mode):
        self.mode = mode

    def synchronize(self, device):
        self.log.append("synchronize")

    def current_device(self):
        return 0

    @property
    def default_generators(self):
        return [SimpleNamespace(graphsafe_set_state=lambda state: self.log.append("generator is made anew"))]


@pytest.fixture
def cuda(monkeypatch):
    fake = Cuda()
    for name in [name for name in dir(fake) if hasattr(torch.cuda, name) and not name.startswith("__")]:
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    monkeypatch.setattr(
        torch._C, "_cuda_endAllocateToPool", lambda device, pool: fake.log.append(f"{pool} is released"), raising=False
    )
    return fake


def duel(optimizer=torch.optim.SGD):
    game = bilinear(1.0, 1.0)
    d, g = players(game, 0.1, optimizer)
    update, meters = Alternating(), Meters(CPU)
    state = State(game, {"discriminator": d, "generator": g}, meters, CPU)
    return state, lambda kind=None: meters.add(update(game, d, g))


def test_three_rehearsals_then_a_capture_then_replays(cuda):
    """A capture runs nothing, so that it is followed by its first replay."""
    state, play = duel()
    rounds, told = Rounds(play, CudaGraphs(state, play)), []
    for _ in range(5):
        cuda.log.clear()
        rounds(None)
        told.append(list(cuda.log))
    rehearsal = ["capture's stream waits", "on capture's stream", "waits for capture's stream"]
    assert told == [rehearsal] * 3 + [["capture into pool, thread_local", "replay"], ["replay"]]
    assert rounds.reason is None


def test_kinds_share_a_pool_and_have_rehearsals_each(cuda):
    state, play = duel()
    rounds = Rounds(play, CudaGraphs(state, play))
    for kind in "abbbab":
        rounds(kind)
    assert list(rounds.records) == ["b"]
    for kind in "aba":
        rounds(kind)
    assert set(rounds.records) == {"a", "b"}


def test_a_round_that_waits_is_found_in_the_last_rehearsal(cuda):
    """Its place in the code is told; other warnings pass."""
    state, play = duel()

    def waiting(kind):
        play()
        if cuda.mode == "warn":
            warnings.warn(f"{WAITS} (Triggered internally)", stacklevel=1)
            warnings.warn("something else", stacklevel=1)

    rounds = Rounds(waiting, CudaGraphs(state, play))
    with pytest.warns(UserWarning, match="something else"):
        for _ in range(4):
            rounds(None)
    assert rounds.reason is not None
    assert "test_capture.py" in rounds.reason
    assert cuda.mode == 0


def test_a_round_that_makes_a_tensor_anew_is_not_captured(cuda):
    """A graph would go on to read and write the one before."""
    state, play = duel()
    state.game.register_buffer("mean", torch.zeros(2))

    def renewing(kind):
        play()
        state.game.mean = state.game.mean + 1

    rounds = Rounds(renewing, CudaGraphs(state, play))
    for _ in range(5):
        rounds(None)
    assert rounds.reason == "a step makes mean anew, instead of writing to it"
    assert not rounds.records and state.game.mean.tolist() == [5, 5]


class Twice(Exception):
    pass


@pytest.mark.parametrize("kept", ["count", "mean", "refusal"])
def test_a_round_that_goes_by_more_than_tensors_is_not_captured(cuda, kept):
    """A graph would go on with the count, or read the mean, of its capture. The game is where its rounds led it."""
    state, play = duel()
    weight = state.game.nets["generator"].x
    own = {"count": 0, "mean": torch.zeros(()), "refusal": 0}
    after = []  # each round that was played

    def step(kind=None):
        own["count"] += 1
        if kept == "refusal" and own["count"] > 4:
            raise Twice("not more than four times")
        play()
        with torch.no_grad():
            own["mean"] = 0.5 * own["mean"] + 0.5 * weight
            weight.add_({"count": 0.01 * own["count"], "mean": own["mean"], "refusal": 0}[kept])
        after.append(state.copy().tensors)

    rounds = Rounds(step, CudaGraphs(state, step))
    for _ in range(3):
        rounds(None)
    said = (
        "Twice: not more than four times"
        if kept == "refusal"
        else "the same step, played again, moves nets.generator.x"
    )
    assert rounds.reason is not None and rounds.reason.startswith(said)
    assert all(torch.equal(value, after[2][name]) for name, value in state.copy().tensors.items())
    assert not rounds.records


@pytest.mark.parametrize("more", [["steps=5"], ["steps=300"], ["steps=5", "data=stream"]], ids=" ".join)
def test_what_is_shipped_is_repeated_by_the_data_that_lies_ready(cuda, compose, more):
    """The third step is the last that was prepared; and three steps lead where they lead without graphs."""
    ended = []
    for graphs in (False, True):
        parts = Assembly(
            plain(compose("device=cpu", "dataset=digits", "trick=[ema,instance_noise]", "optimizer=sgd", *more))
        )
        if graphs:
            parts.rounds = Rounds(parts.rounds, CudaGraphs(state_of(parts), parts.round))
        for step in range(3):
            if step % parts.plan.beat == 0:
                parts.prepare(parts.plan.beat)
            parts.step()
            parts.clock.step = step + 1
        ended.append(state_of(parts).copy())
    assert parts.rounds.reason is None
    assert all(torch.equal(value, ended[1].tensors[name]) for name, value in ended[0].tensors.items())
    assert torch.equal(ended[0].rng["cpu"], ended[1].rng["cpu"])


def state_of(parts: Assembly) -> State:
    return State(parts.game, {"discriminator": parts.d, "generator": parts.g}, parts.meters, parts.device)


class Odd(Trick):
    """Holds what is no ordinary weight: whole numbers, complex ones, one number expanded to many, and infinities."""

    def __init__(self, count: int):
        super().__init__()
        self.whole = torch.nn.Parameter(torch.arange(3), requires_grad=False)
        self.turned = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64), requires_grad=False)
        self.register_buffer("expanded", torch.zeros(1).expand(4))
        self.register_buffer("numbers", torch.tensor([math.inf, math.nan, 0.0]))
        self.counts = (count * 2**i for i in itertools.count())

    def after_round(self, nets):
        self.numbers[2] += next(self.counts)
        with torch.no_grad():
            self.turned.mul_(1j)


@pytest.mark.parametrize("count", [0, 1])
def test_tensors_of_any_kind_are_compared_and_put_back(cuda, count):
    game = bilinear(1.0, 1.0, {"odd": Odd(count)})
    d, g = players(game, 0.1)
    update, meters = Alternating(), Meters(CPU)
    state = State(game, {"discriminator": d, "generator": g}, meters, CPU)
    play = lambda kind=None: meters.add(update(game, d, g))  # noqa: E731
    rounds = Rounds(play, CudaGraphs(state, play))
    for _ in range(3):
        rounds(None)
    assert rounds.reason is None or "moves tricks.odd.numbers elsewhere" in rounds.reason
    assert (rounds.reason is None) == (count == 0)
    assert game.hooks["odd"].numbers[2] == count * (1 + 2 + 4)
    assert game.hooks["odd"].turned.tolist() == [-1j, -1j]


class Slow(nn.Module):
    """Looks ahead (Zhang et al. 2019): each third step the weights go half the way back."""

    discriminator_steps = 1

    def __init__(self, kept: str):
        super().__init__()
        self.inner, self.kept, self.slow = Alternating(), kept, list[Tensor]()
        self.register_buffer("now", torch.zeros((), dtype=torch.int64))
        self.count = 0

    def forward(self, game, d, g):
        weights = [*d.parameters, *g.parameters]
        self.slow = self.slow or [weight.detach().clone() for weight in weights]
        stats = self.inner(game, d, g)
        self.now += 1
        self.count += self.kept == "count"
        late = (self.now % 3 == 0) if self.kept != "count" else torch.tensor(self.count % 3 == 0)
        with torch.no_grad():
            for weight, slow in zip(weights, self.slow, strict=True):
                weight.lerp_(slow, 0.5 * late)
                if self.kept == "tensors":
                    slow.lerp_(weight, late.float())
        return stats


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ("count", "a step changes update.count, which is"),
        ("tensors", "a step changes update.slow, which is"),
        ("", None),
    ],
)
def test_what_an_update_keeps_in_python_is_not_captured(cuda, kept, reason):
    """A count that decides in each third step, weights in a list; a list that is only read may be."""
    game = bilinear(1.0, 1.0)
    d, g = players(game, 0.1)
    update, meters = Slow(kept), Meters(CPU)
    state = State(game, {"discriminator": d, "generator": g}, meters, CPU, update)
    play = lambda kind=None: meters.add(update(game, d, g))  # noqa: E731
    rounds = Rounds(play, CudaGraphs(state, play))
    for _ in range(4):
        rounds(None)
    assert (rounds.reason or "").startswith(reason or "") and (rounds.reason is None) == (reason is None)
    assert int(update.now) == 4


def test_a_round_that_draws_another_number_of_times_is_not_captured(cuda):
    state, play = duel()
    draws = itertools.cycle([1, 2])

    def drawing(kind=None):
        play()
        torch.rand(next(draws))

    rounds = Rounds(drawing, CudaGraphs(state, drawing))
    for _ in range(3):
        rounds(None)
    assert rounds.reason is not None and "generator of random numbers" in rounds.reason


def test_a_round_is_repeated_by_kernels_that_add_in_one_order():
    """Those that have none say so; what the run chose is as it was."""
    chosen = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    with _one_order() as loose:
        assert torch.are_deterministic_algorithms_enabled()
        torch.ones(3).sum()
        within = list(loose)
    with _one_order() as other:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert not within and not loose and other[0].startswith("put_ does not have")
    with _one_order() as many, warnings.catch_warnings():
        warnings.warn("Flash Attention defaults to a non-deterministic algorithm.", stacklevel=1)
    with _one_order() as none:
        warnings.warn("Deterministic behavior was enabled, but this operation uses CuBLAS", stacklevel=1)
    assert len(many) == 1 and not none
    assert chosen == (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_a_broken_capture_is_mended(cuda):
    """All that it changed on the host is put back, and torch's own belief that it still captures is corrected."""
    state, play = duel()
    for _ in range(3):
        play()
    before, cuda.broken = state.copy(), True
    with pytest.raises(Unfit, match=r"RuntimeError: the capture was invalidated\)"):
        CudaGraphs(state, play).record(play)
    assert cuda.log[1:] == ["stream is set", "synchronize", "pool is released", "generator is made anew"]
    after = state.copy()
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())


def test_what_a_step_raised_is_told_not_what_leaving_the_capture_raised(cuda):
    state, _ = duel()
    cuda.broken = True

    def play():
        raise ValueError("mine")

    with pytest.raises(Unfit, match="ValueError: mine"):
        CudaGraphs(state, play).record(play)


def test_an_optimizer_that_counts_on_the_host_is_refused(cuda):
    """Adagrad keeps its count on the CPU; here its parameters lie elsewhere."""
    state, play = duel(torch.optim.Adagrad)
    play()
    moved = state.players["generator"]
    moved.clock.now = moved.clock.now.to("meta")
    reason = CudaGraphs(state, play).rehearse(play, last=False)
    assert reason == "Adagrad, which moves the generator, counts its steps on the host"


@pytest.mark.parametrize(
    ("optimizer", "options", "fits"),
    [(torch.optim.SGD, {}, True), (torch.optim.SGD, {"momentum": 0.9}, True), (torch.optim.Adam, {}, False)],
)
def test_which_optimizers_may_be_captured(optimizer, options, fits):
    """Adam says itself that it was not built for it, as it is not on a CPU."""
    weight = torch.nn.Parameter(torch.ones(2))
    player = Player([weight], lambda parameters, **more: optimizer(parameters, lr=0.1, **options, **more))
    player.apply([torch.ones(2)])
    assert player.capturable == fits
