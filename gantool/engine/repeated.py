"""Where a round leads, and whether it always leads there.

A record holds what Python decided while the round was recorded. So only a round that is a function of tensors alone may
be recorded: one that leads from one state to one end. What shows in two plays in a row is found; a count that decides
anew only after many rounds is not.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from gantool.engine.random import set_rng
from gantool.engine.rounds import Play, Unfit
from gantool.engine.state import Saved, State

APART = 0.3  # of the way of one round, and so many times what rounding can do: what is wrong goes elsewhere altogether
NOISE = 3
FLOOR = 0.01  # of the way of all tensors of a kind: how far one of them went that hardly moved, as rounding has it
ROUNDING = 2**-9  # of bfloat16, relative


class Way(NamedTuple):
    """Where a round leads."""

    start: Saved
    end: Saved
    rounded: Saved  # where it leads from weights that are a rounding away


def repeated(state: State, play: Play, start: Saved) -> Saved:
    """The end of the round from there, by kernels whose sums have one order; then all is as at the start.

    Raises Unfit where it does not lead to the same end twice, to the last bit. Only where it needs a kernel that adds
    in another order each time, a difference that rounding can make is let pass.
    """
    with _one_order() as loose:
        end, again = (_led(state, play, start) for _ in range(2))
    if loose or state.device.type == "mps":
        moved = apart(Way(start, end, _rounded(state, play, start)), again)
    else:
        moved = _different(end, again)
    moved = moved or _random_numbers(end, again)
    if moved:
        raise Unfit(
            f"the same step, played again, moves {moved}: it goes by more than parameters and buffers, such as a "
            "number or a tensor that is a plain attribute, or by random numbers that are not torch's"
        )
    state.put_back(start)
    return end


def way_of(state: State, play: Play, start: Saved) -> Way:
    """The way of the round from there, if it is `repeated`; all is as at the start again."""
    way = Way(start, repeated(state, play, start), _rounded(state, play, start))
    state.put_back(start)
    return way


def apart(way: Way, end: Saved) -> str | None:
    """A tensor that goes elsewhere than rounding could lead it, and how far; None where all are right."""
    lengths = {name: _distance(was, way.end.tensors[name]) for name, was in way.start.tensors.items()}
    whole = Counter[tuple[str, str]]()  # squares
    for name, length in lengths.items():
        if math.isfinite(length):  # what became infinite measures nothing of its kin
            whole[_kin(name)] += length**2  # type: ignore[assignment]
    for name, length in lengths.items():
        one = way.end.tensors[name]
        scale = length + FLOOR * math.sqrt(whole[_kin(name)]) + 1e-5 * _distance(torch.zeros_like(one), one) + 1e-12
        noise, far = (_distance(one, other.tensors[name]) / scale for other in (way.rounded, end))
        if far > APART + NOISE * noise:
            return f"{name} elsewhere ({far:.2g} of the way apart)"
    return None


def _different(end: Saved, again: Saved) -> str | None:
    """A tensor whose numbers are not the same, not a number included."""
    for name, one in end.tensors.items():
        if not torch.allclose(one, again.tensors[name], rtol=0, atol=0, equal_nan=True):
            return f"{name} elsewhere"
    return None


def _random_numbers(end: Saved, again: Saved) -> str | None:
    alike = all(torch.equal(one, again.rng[name]) for name, one in end.rng.items())
    return None if alike else "its generator of random numbers elsewhere"


@contextmanager
def _one_order() -> Iterator[list[str]]:
    """Within it kernels add in one order; what torch says of those that cannot. Other warnings were given before."""
    loose: list[str] = []
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.set_warn_always(True)
        torch._C._set_deterministic_algorithms(True, warn_only=True)  # torch's own function loads its compiler first
        try:
            yield loose
        finally:
            torch._C._set_deterministic_algorithms(was[0], warn_only=was[1])
            torch.set_warn_always(always)
            said = [str(each.message) for each in caught]
            loose += [text for text in said if "deterministic" in text and "CuBLAS" not in text]  # it has one stream


def _led(state: State, play: Play, start: Saved) -> Saved:
    state.put_back(start)
    play()
    return state.copy()


def _rounded(state: State, play: Play, start: Saved) -> Saved:
    """Where the round leads from weights that are a rounding away."""
    state.put_back(start)
    with torch.no_grad():
        for weight in state.game.parameters():
            if weight.is_floating_point() or weight.is_complex():
                weight.mul_(1 + ROUNDING * torch.randn_like(weight))
    set_rng(state.device, start.rng)
    play()
    return state.copy()


def _distance(one: Tensor, other: Tensor) -> float:
    """Infinite where only one of them has numbers."""
    wide = torch.promote_types(one.dtype, torch.float64)
    one, other = one.to(wide), other.to(wide)
    if torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
        return 0.0
    distance = float((other - one).norm())
    return math.inf if math.isnan(distance) else distance


def _kin(name: str) -> tuple[str, str]:
    """Whose it is, and what: tensors of the same kind go ways that can be compared."""
    owner, _, slot = name.rpartition(".")
    owner = owner.partition("/")[0] if "/" in owner else ".".join(owner.split(".")[:2])
    return owner, "weight" if slot == "bias" else slot
