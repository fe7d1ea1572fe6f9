"""A round as one compiled function: fewer passes over memory, no Python.

The whole round is traced and compiled, gradients, optimisers and meters too; never a network by itself, whose penalties
would lose their second-order graph. Random numbers are drawn as in the plain round, so the two differ by rounding only.
"""

import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gantool.engine.convolutions import Convolutions
from gantool.engine.entry import compile_round
from gantool.engine.narrow import narrow
from gantool.engine.random import get_rng, set_rng
from gantool.engine.rounds import Play, Unfit
from gantool.engine.state import Saved, State
from gantool.engine.trace import traced
from gantool.engine.written_out import WRITTEN_OUT
from gantool.errors import UsageError

log = logging.getLogger(__name__)
APART = 0.3  # of the way of one round, and so many times what rounding can do: what is wrong goes elsewhere altogether
NOISE = 3
FLOOR = 0.01  # of the way of all tensors of a kind: how far one of them went that hardly moved, as rounding has it
ROUNDING = 2**-9  # of bfloat16, relative
TOLD = 200  # characters of an error, whose first line may be empty
CALLS = 3  # of a compiled round that are checked: what goes wrong only now and then
TRIES = 3  # the first step makes the moments; one that makes tensors in each cannot be compiled
PAYS_FROM = {"cpu": 30_000, "cuda": 60_000}  # steps: until they have made up for the time that compiling takes


def is_wanted(how: str, steps: int, nets: nn.Module, device: torch.device) -> bool:
    """`how` is auto, off or step; auto: if a run of so many steps ends sooner when they are compiled.

    On a CPU an operation takes 20 to 80 ms to compile, once, and 5 us less in each step; convolutions are as fast
    without. On a GPU 20 to 25 ms, and 0.4 to 0.9 us; but a run that is to repeat itself bit for bit has to do without
    kernels that are chosen by their time.
    """
    exact = device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
    if how == "step" and exact:
        raise UsageError(
            "compile=step takes the fastest kernels, not the same each time: drop it or deterministic=true"
        )
    if how != "auto" or exact or steps < PAYS_FROM.get(device.type, math.inf):
        return how == "step"
    return device.type == "cuda" or not any(isinstance(layer, _ConvNd) for layer in nets.modules())


class Way(NamedTuple):
    """Where the plain round leads."""

    start: Saved
    end: Saved
    rounded: Saved  # where it leads from weights that are a rounding away


class Compiler:
    """Records rounds by compiling them."""

    name = "compilation"
    rehearsals = 0  # a resumed run must compute its first step as the uninterrupted one did

    def __init__(self, state: State):
        self.state, self.tries = state, 0  # in a row that made some tensor anew

    def rehearse(self, play: Play, last: bool) -> None:
        raise AssertionError("rounds are compiled at once")

    def record(self, play: Play) -> Play | None:
        """Tries the round first: if that makes what later rounds only change, such as moments, it is left played.

        A compiled round that does not lead where the plain one leads is refused: compilers have defects. How far apart
        rounding may lead differs: the gradient of a bias before BatchNorm is nothing but rounding, which Adam then
        takes for a direction. So the plain round is also played from weights that are a rounding away.
        """
        if self.tries == TRIES:
            raise Unfit("each step makes some of its tensors anew, instead of writing to them")
        saved, addresses = self.state.copy(), self.state.addresses()
        try:
            play()
            self.tries += 1
            if self.state.moved(addresses):
                return None
            self.tries = 0
            record = self._right(play, [self._way(play, saved), self._way(play, self._later(saved))])
        except Exception as error:  # of the round, of the tracer, or of the compilers
            self.state.put_back(saved)
            raise Unfit(_told(error)) from error
        self.state.put_back(saved)
        return record

    def _right(self, play: Play, ways: Sequence[Way]) -> Play:
        """The round compiled with the first of the options that make it lead where it should, call by call."""
        *bold, plainest = (OPTIONS | more for more in MORE.get(self.state.device.type, ({},)))
        for options in bold:
            try:
                return self._checked(play, options, ways)
            except Exception as error:
                self.state.put_back(ways[0].start)
                log.info("compiling once more, more plainly: %s", _told(error))
        return self._checked(play, plainest, ways)

    def _checked(self, play: Play, options: dict[str, Any], ways: Sequence[Way]) -> Play:
        record = self._compiled(play, options, ways[0].start)
        for call, way in enumerate([ways[0]] * (1 + CALLS) + [*ways[1:]]):
            self.state.put_back(way.start)
            record()
            apart = _apart(way, self.state.copy()) if call else None  # in the first, kernels are chosen by their time
            if apart:
                raise ArithmeticError(f"the compiled step moves {apart}")
        return record

    def _way(self, play: Play, start: Saved) -> Way:
        """Raises Unfit where the round does not lead to the same end twice: what else it goes by would be lost.

        On a CPU to the last bit; some of a GPU's kernels add in another order each time.
        """
        ends = []
        for _ in range(2):
            self.state.put_back(start)
            play()
            ends.append(self.state.copy())
        way = Way(start, ends[0], self._rounded(start, play))
        exact = way._replace(rounded=way.end) if self.state.device.type == "cpu" else way
        apart = _apart(exact, ends[1], 0.0 if self.state.device.type == "cpu" else APART)
        if apart:
            raise Unfit(
                f"the same step, played again, moves {apart}: it goes by more than tensors, such as a number of a class"
                "'s own, or random numbers that are not torch's"
            )
        return way

    def _later(self, saved: Saved) -> Saved:
        """With other random numbers to come."""
        set_rng(self.state.device, saved.rng)
        torch.rand(1)
        torch.rand(1, device=self.state.device)
        return saved._replace(rng=get_rng(self.state.device))

    def _rounded(self, start: Saved, play: Play) -> Saved:
        """Where the plain round leads from weights that are a rounding away; then all is as at the start."""
        self.state.put_back(start)
        with torch.no_grad():
            for weight in self.state.game.parameters():
                weight.mul_(1 + ROUNDING * torch.randn_like(weight))
        set_rng(self.state.device, start.rng)
        play()
        ended = self.state.copy()
        self.state.put_back(start)
        return ended

    def _compiled(self, play: Play, options: dict[str, Any], saved: Saved) -> Play:
        from torch._inductor.lowering import add_layout_constraint, constrain_to_fx_strides

        for operation in DRAWS:
            add_layout_constraint(operation, constrain_to_fx_strides)
        began = time.monotonic()
        layers = Convolutions()
        written_out = WRITTEN_OUT | {
            ATEN.convolution.default: layers.forward,
            ATEN.convolution_backward.default: layers.backward,
        }
        module, tensors = traced(play, list(self.state.tensors().values()), written_out)
        narrow(module, tensors)
        self.state.put_back(saved)  # tracing has played the round, and it is played once more to be compiled
        log.info("compiling a step of %d operations, once; Ctrl-C waits for it", len(module.graph.nodes) - len(tensors))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # precision=fp32 means it
            run = compile_round(module, tensors, options)
        log.info("compiled after %.0f s", time.monotonic() - began)

        def record() -> None:
            with torch.no_grad():
                run()

        return record


def _apart(way: Way, end: Saved, most: float = APART) -> str | None:
    """A tensor that goes elsewhere than rounding could lead it, and how far; None where all are right."""
    lengths = {name: _distance(was, way.end.tensors[name]) for name, was in way.start.tensors.items()}
    whole = Counter[tuple[str, str]]()  # squares
    for name, length in lengths.items():
        whole[_kin(name)] += length**2  # type: ignore[assignment]
    for name, length in lengths.items():
        one = way.end.tensors[name]
        scale = length + FLOOR * math.sqrt(whole[_kin(name)]) + 1e-5 * float(one.double().norm()) + 1e-12
        noise, apart = (_distance(one, other.tensors[name]) / scale for other in (way.rounded, end))
        if apart > most + NOISE * noise:
            return f"{name} elsewhere ({apart:.2g} of the way apart)"
    return None


def _told(error: Exception) -> str:
    if isinstance(error, Unfit):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:TOLD]}{'...' * (len(text) > TOLD)}"


def _distance(one: Tensor, other: Tensor) -> float:
    """Infinite where only one of them has numbers."""
    if torch.allclose(one.double(), other.double(), rtol=0, atol=0, equal_nan=True):
        return 0.0
    distance = float((other.double() - one.double()).norm())
    return math.inf if math.isnan(distance) else distance


def _kin(name: str) -> tuple[str, str]:
    """Whose it is, and what: tensors of the same kind go ways that can be compared."""
    owner, _, slot = name.rpartition(".")
    owner = owner.partition("/")[0] if "/" in owner else ".".join(owner.split(".")[:2])
    return owner, "weight" if slot == "bias" else slot


ATEN = torch.ops.aten
OPTIONS = {  # of the compiler: random numbers are torch's own, drawn in the order of the round (torch 2.11 moves them)
    "fallback_random": True,
    "reorder_for_locality": False,
    "reorder_for_peak_memory": False,
    "loop_ordering_after_fusion": False,  # on CUDA its code fails on some rounds with an empty AssertionError (2.11)
}
MORE: dict[str, tuple[dict[str, Any], ...]] = {  # by device, what is tried in turn
    # what calls the kernels is compiled too; or sums are rounded where they would be, as a maximum and its slope need
    "cpu": ({"cpp_wrapper": True}, {"emulate_precision_casts": True}),
    "cuda": ({"combo_kernels": True}, {}),  # what does not depend on each other is one kernel: fewer launches
}
DRAWS = (  # like a tensor, in the order in which it lies in memory: the compiler must leave it where it would lie
    ATEN.randn_like.default,
    ATEN.rand_like.default,
    ATEN.bernoulli.default,
    ATEN.bernoulli.p,
    ATEN.native_dropout.default,
)
