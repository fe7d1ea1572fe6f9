"""A round as one compiled function: fewer passes over memory, no Python.

The whole round is traced and compiled, gradients, optimisers and meters too; never a network by itself, whose penalties
would lose their second-order graph. Random numbers are drawn as in the plain round, so the two differ by rounding only.
"""

import logging
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from gantool.engine.convolutions import Convolutions
from gantool.engine.entry import compile_round
from gantool.engine.narrow import narrow
from gantool.engine.random import get_rng, set_rng
from gantool.engine.repeated import Way, apart, way_of
from gantool.engine.rounds import Play, Unfit, told
from gantool.engine.state import Saved, State
from gantool.engine.trace import traced
from gantool.engine.written_out import WRITTEN_OUT
from gantool.errors import UsageError

log = logging.getLogger(__name__)
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


class Compiler:
    """Records rounds by compiling them."""

    name = "compilation"
    rehearsals = 0  # a resumed run must compute its first step as the uninterrupted one did

    def __init__(self, state: State):
        self.state, self.tries = state, 0  # in a row that made some tensor anew
        self.moved: str | None = None  # by the last of them

    def rehearse(self, play: Play, last: bool) -> None:
        raise AssertionError("rounds are compiled at once")

    def record(self, play: Play) -> Play | None:
        """Tries the round first: if that makes what later rounds only change, such as moments, it is left played.

        A compiled round that does not lead where the plain one leads is refused: compilers have defects. How far apart
        rounding may lead differs: the gradient of a bias before BatchNorm is nothing but rounding, which Adam then
        takes for a direction. So the plain round is also played from weights that are a rounding away. With other
        random numbers than those that it was traced with, it shows if some of them left torch and are constants now.
        """
        if self.tries == TRIES:
            raise Unfit(f"each step {self.moved}")
        saved, place = self.state.copy(), self.state.place()
        try:
            play()
            self.tries += 1
            self.moved = self.state.moved(place)
            if self.moved:
                return None
            self.tries = 0
            record = self._right(play, [way_of(self.state, play, start) for start in (saved, self._later(saved))])
        except Exception as error:  # of the round, of the tracer, or of the compilers
            self.state.put_back(saved)
            raise Unfit(told(error)) from error
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
                log.info("compiling once more, more plainly: %s", told(error))
        return self._checked(play, plainest, ways)

    def _checked(self, play: Play, options: dict[str, Any], ways: Sequence[Way]) -> Play:
        record = self._compiled(play, options, ways[0].start)
        for call, way in enumerate([ways[0]] * (1 + CALLS) + [*ways[1:]]):
            self.state.put_back(way.start)
            record()
            moved = apart(way, self.state.copy()) if call else None  # in the first, kernels are chosen by their time
            if moved:
                raise ArithmeticError(f"the compiled step moves {moved}")
        return record

    def _later(self, saved: Saved) -> Saved:
        """With other random numbers to come."""
        set_rng(self.state.device, saved.rng)
        torch.rand(1)
        torch.rand(1, device=self.state.device)
        return saved._replace(rng=get_rng(self.state.device))

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
