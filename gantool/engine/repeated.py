"""Where a round leads, and whether it always leads there.

A record holds what Python decided while the round was recorded. So only a round that is a function of tensors alone may
be recorded: one that leads from one state to one end, however often it was played before.
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
ANY_ORDER = "does not have a deterministic implementation"  # how torch warns of a kernel whose sums have none


class Way(NamedTuple):
    """Where a round leads."""

    start: Saved
    end: Saved
    rounded: Saved  # where it leads from weights that are a rounding away


def repeated(state: State, play: Play, start: Saved) -> Way:
    """The round's way, by kernels whose sums have one order; then all is as at the start.

    Raises Unfit where it does not lead to the same end twice, to the last bit. Only where it needs a kernel that adds
    in another order each time, a difference that rounding can make is let pass.
    """
    with one_order(state.device) as loose:
        end, again = (_led(state, play, start) for _ in range(2))
    way = Way(start, end, _rounded(state, play, start))
    state.put_back(start)
    moved = apart(way, again) if loose else apart(way._replace(rounded=end), again, 0.0)
    if moved:
        raise Unfit(
            f"the same step, played again, moves {moved}: it goes by more than tensors, such as a number of a class's "
            "own, or random numbers that are not torch's"
        )
    return way


def apart(way: Way, end: Saved, most: float = APART) -> str | None:
    """A tensor that goes elsewhere than rounding could lead it, and how far; None where all are right."""
    lengths = {name: _distance(was, way.end.tensors[name]) for name, was in way.start.tensors.items()}
    whole = Counter[tuple[str, str]]()  # squares
    for name, length in lengths.items():
        whole[_kin(name)] += length**2  # type: ignore[assignment]
    for name, length in lengths.items():
        one = way.end.tensors[name]
        scale = length + FLOOR * math.sqrt(whole[_kin(name)]) + 1e-5 * float(one.double().norm()) + 1e-12
        noise, far = (_distance(one, other.tensors[name]) / scale for other in (way.rounded, end))
        if far > most + NOISE * noise:
            return f"{name} elsewhere ({far:.2g} of the way apart)"
    return None


@contextmanager
def one_order(device: torch.device) -> Iterator[list[str]]:
    """Within it kernels add in one order; which of them cannot, as torch says. On a CPU all of them do."""
    loose: list[str] = []
    if device.type != "cuda":
        yield loose if device.type == "cpu" else [device.type]
        return
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch._C._set_deterministic_algorithms(True, warn_only=True)  # torch's own function loads its compiler first
        try:
            yield loose
        finally:
            torch._C._set_deterministic_algorithms(was[0], warn_only=was[1])
            loose += [str(each.message) for each in caught if ANY_ORDER in str(each.message)]


def _led(state: State, play: Play, start: Saved) -> Saved:
    state.put_back(start)
    play()
    return state.copy()


def _rounded(state: State, play: Play, start: Saved) -> Saved:
    """Where the round leads from weights that are a rounding away."""
    state.put_back(start)
    with torch.no_grad():
        for weight in state.game.parameters():
            weight.mul_(1 + ROUNDING * torch.randn_like(weight))
    set_rng(state.device, start.rng)
    play()
    return state.copy()


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
