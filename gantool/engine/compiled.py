"""A round as one compiled function: fewer passes over memory, no Python.

The whole round is traced and compiled, gradients, optimisers and meters too; never a network by itself, whose penalties
would lose their second-order graph. Random numbers are drawn as in the plain round, so the two differ by rounding only.
"""

import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gantool.engine.convolutions import Convolutions
from gantool.engine.entry import compile_round
from gantool.engine.narrow import narrow
from gantool.engine.products import linear, product
from gantool.engine.random import set_rng
from gantool.engine.rounds import Play, Unfit
from gantool.engine.state import Saved, State
from gantool.engine.trace import traced
from gantool.errors import UsageError

log = logging.getLogger(__name__)
APART = 0.3  # of the way of one round, and so many times what rounding can do: what is wrong goes elsewhere altogether
NOISE = 3
FLOOR = 0.01  # of the way of all tensors of a kind: how far one of them went that hardly moved, as rounding has it
ROUNDING = 2**-9  # of bfloat16, relative
TOLD = 200  # characters of an error, whose first line may be empty
CALLS = 3  # of a compiled round that are checked: what goes wrong only now and then
TRIES = 3  # the first step makes the moments; one that makes tensors in each cannot be compiled
KEPT = 8  # elements; smaller reductions are written out
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
            plain = self.state.copy()
            record = self._right(play, saved, plain, self._rounded(saved, play))
        except Exception as error:  # of the round, of the tracer, or of the compilers
            self.state.put_back(saved)
            raise Unfit(_told(error)) from error
        self.state.put_back(saved)
        return record

    def _right(self, play: Play, saved: Saved, plain: Saved, rounded: Saved) -> Play:
        """The round compiled with the first of the options that make it lead where it should, call by call."""
        *bold, plainest = (OPTIONS | more for more in MORE.get(self.state.device.type, ({},)))
        for options in bold:
            try:
                return self._checked(play, options, saved, plain, rounded)
            except Exception as error:
                self.state.put_back(saved)
                log.info("compiling once more, more plainly: %s", _told(error))
        return self._checked(play, plainest, saved, plain, rounded)

    def _checked(self, play: Play, options: dict[str, Any], saved: Saved, plain: Saved, rounded: Saved) -> Play:
        record = self._compiled(play, options, saved)
        for call in range(1 + CALLS):
            self.state.put_back(saved)
            record()
            if call:  # in the first, kernels are chosen by their time
                self._check(saved, plain, rounded, self.state.copy())
        return record

    def _rounded(self, saved: Saved, play: Play) -> Saved:
        """Where the plain round leads from weights that are a rounding away; then all is as saved."""
        self.state.put_back(saved)
        with torch.no_grad():
            for weight in self.state.game.parameters():
                weight.mul_(1 + ROUNDING * torch.randn_like(weight))
        set_rng(self.state.device, saved.rng)
        play()
        ended = self.state.copy()
        self.state.put_back(saved)
        return ended

    def _check(self, saved: Saved, plain: Saved, rounded: Saved, compiled: Saved) -> None:
        """Raises ArithmeticError where the compiled round leads elsewhere than rounding could."""
        ways = {name: _distance(was, plain.tensors[name]) for name, was in saved.tensors.items()}
        whole = Counter[tuple[str, str]]()  # squares
        for name, way in ways.items():
            whole[_kin(name)] += way**2  # type: ignore[assignment]
        for name, way in ways.items():
            one = plain.tensors[name]
            scale = way + FLOOR * math.sqrt(whole[_kin(name)]) + 1e-5 * float(one.double().norm()) + 1e-12
            noise, apart = (_distance(one, other.tensors[name]) / scale for other in (rounded, compiled))
            if apart > APART + NOISE * noise:
                raise ArithmeticError(f"the compiled step moves {name} elsewhere ({apart:.2g} of the way apart)")

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


def _told(error: Exception) -> str:
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


def _adam(
    params: list[Tensor], grads: list[Tensor], means: list[Tensor], squares: list[Tensor], largest: list[Tensor],
    steps: list[Tensor], *, lr: float, beta1: float, beta2: float, weight_decay: float, eps: float, amsgrad: bool,
    maximize: bool, decoupled: bool = False, **_: Any,
) -> None:  # fmt: skip
    """torch's fused kernel written out, whose bias corrections are in float64 (Kingma and Ba 2014, algorithm 1)."""
    counts = torch.stack(steps).double()
    rates, inverse_roots = _kept(lr / (1 - beta1**counts)), _kept((1 - beta2**counts).rsqrt())
    for i, (param, grad, mean, square) in enumerate(zip(params, grads, means, squares, strict=True)):
        grad = -grad if maximize else grad
        if weight_decay and decoupled:
            param.mul_(1 - lr * weight_decay)
        elif weight_decay:
            grad = grad + weight_decay * param
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if amsgrad:
            largest[i].copy_(torch.maximum(largest[i], square))
        spread = (largest[i] if amsgrad else square).sqrt() * inverse_roots[i] + eps
        param.sub_(rates[i] * mean / spread)


def _kept(numbers: Tensor) -> Tensor:
    """Each as the largest of equal ones, in float32: a result of a reduction, which the compiler keeps.

    Otherwise it would compute powers, roots and quotients anew in the loop over the elements of each tensor.
    """
    return numbers.float()[:, None].expand(-1, KEPT).amax(1)


def _adamw(*tensors: list[Tensor], **options: Any) -> None:
    _adam(*tensors, **options, decoupled=True)


def _sgd(
    params: list[Tensor], grads: list[Tensor], velocities: list[Tensor], *, weight_decay: float, momentum: float,
    lr: float, dampening: float, nesterov: bool, maximize: bool, is_first_step: bool, **_: Any,
) -> None:  # fmt: skip
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        grad = -grad if maximize else grad
        grad = grad + weight_decay * param if weight_decay else grad
        if momentum:
            velocities[i].copy_(grad if is_first_step else momentum * velocities[i] + (1 - dampening) * grad)
            grad = grad + momentum * velocities[i] if nesterov else velocities[i]
        param.sub_(lr * grad)


def _norms(tensors: list[Tensor], ord: float = 2, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Of float32: as sums, first of rows, that join the loops which make the tensors."""
    if ord != 2:
        return [torch.linalg.vector_norm(tensor, ord, dtype=dtype) for tensor in tensors]
    squares = (tensor.to(dtype or tensor.dtype).square() for tensor in tensors)
    return [(each.flatten(1).sum(1) if each.dim() > 1 and len(each) > 1 else each).sum().sqrt() for each in squares]


def _tanh(given: Tensor) -> Tensor:
    """On a CPU by one exponential, in a third of the time, and right to 2e-7: rounding of 1, not of small numbers."""
    if given.device.type != "cpu" or given.dtype not in (torch.float32, torch.bfloat16):
        return NotImplemented
    return (2 * torch.sigmoid(2 * given.float()) - 1).to(given.dtype)


ATEN = torch.ops.aten
WRITTEN_OUT: dict[Any, Callable] = {  # what the compiler takes for one operation each
    ATEN._fused_adam_.default: _adam,
    ATEN._fused_adamw_.default: _adamw,
    ATEN._fused_sgd_.default: _sgd,
    ATEN._foreach_norm.Scalar: _norms,
    ATEN.mm.default: product,
    ATEN.addmm.default: linear,
    ATEN.tanh.default: _tanh,
}
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
