"""Rows that nobody asks for are left out, and only those."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils.flop_counter import FlopCounterMode

from gantool.commands.assembly import Assembly
from gantool.engine.narrow import narrow
from gantool.engine.state import State
from gantool.engine.trace import traced
from gantool.engine.written_out import WRITTEN_OUT

WEIGHT, BIAS = torch.linspace(-1, 1, 12).view(3, 4), torch.linspace(0, 1, 4)


def layer(x: Tensor) -> Tensor:
    return torch.tanh(x @ WEIGHT + BIAS)


def overwritten(x: Tensor) -> Tensor:
    kept = x * 1
    made = layer(kept)
    kept.zero_()
    return made[2:4]


def joined_and_overwritten(x: Tensor) -> Tensor:
    kept = x * 1
    both = torch.cat([torch.zeros_like(x), kept])
    kept.zero_()
    return both[6:]


def changed_in_place(x: Tensor) -> Tensor:
    made = x @ WEIGHT
    made.mul_(2)
    return made[2:4]


def joined(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x), x.tanh()])


def squared(x: Tensor) -> Tensor:
    return (lambda made: made * made)(x @ WEIGHT)


CASES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {  # of 6 rows; those that are multiplied
    "of a layer": (lambda x: layer(x)[2:4], 2),
    "of a picture": (lambda x: layer(x).view(6, 2, 2)[2:4].sum(), 2),
    "of a part": (lambda x: layer(joined(x))[6:], 6),
    "of two parts": (lambda x: layer(joined(x))[5:8], 3),
    "of a part beside others": (lambda x: layer(torch.cat([x, x + 1]))[6:], 6),
    "of a part beside others in size": (lambda x: layer(torch.cat([x, x], 1)[:, 1:4])[0:3], 3),
    "of a part of another layout": (lambda x: torch.cat([x, x.t().clone().t()])[6:].reshape(3, 6).sum(), 0),
    "of a part of another type": (lambda x: torch.cat([torch.zeros_like(x).double(), x])[6:] @ WEIGHT.double(), 6),
    "of a part that is the same for all": (lambda x: (x @ WEIGHT * x.mean(0, keepdim=True).sum())[4:], 2),
    "of columns that are the same for all": (lambda x: ((x @ x.t()) * x.sum(1))[2:4], 3),
    "of two": (lambda x: (x @ WEIGHT + x.square() @ WEIGHT)[1:3], 2 * 2),
    "of one that is read twice": (lambda x: squared(x)[2:4], 2),
    "of half precision": (lambda x: (x.bfloat16() @ WEIGHT.bfloat16()).float()[:3], 3),
    "past the end": (lambda x: layer(x)[2:99], 4),
    "of what is overwritten later": (overwritten, 2),
    "of a part that is overwritten later": (joined_and_overwritten, 0),
    "of what is changed in place": (changed_in_place, 6),
    "of what all is asked for": (lambda x: (lambda made: made[2:4] + made.sum())(layer(x)), 6),
    "of what depends on other rows": (lambda x: layer(x).softmax(0)[2:4], 6),
    "of columns": (lambda x: layer(x)[:, 1:2], 6),
    "of another shape": (lambda x: layer(x).view(12, 2)[2:4], 6),
    "with steps": (lambda x: layer(x)[::2], 6),
    "from the end": (lambda x: layer(x)[-2:-1], 6),
}  # fmt: skip


@pytest.mark.parametrize(("function", "rows"), CASES.values(), ids=CASES)
def test_rows_are_those_of_the_whole(function: Callable[[Tensor], Tensor], rows: int):
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    mine, exact = torch.zeros_like(function(x)), function(x)
    module, tensors = traced(lambda: mine.copy_(function(x)), [x, mine])
    narrow(module, tensors)
    mine.zero_()
    asked_for(module)
    with FlopCounterMode(display=False) as counter:
        module(*tensors)
    torch.testing.assert_close(mine, exact, rtol=1e-6, atol=1e-7)
    assert counter.get_total_flops() == 2 * rows * 3 * 4


def asked_for(module: GraphModule) -> None:
    """Leaves the rest out, as the compiler does."""
    module.graph.eliminate_dead_code()
    module.recompile()


def test_the_way_back_through_d_is_by_the_fakes_alone(compose):
    """A round of a real configuration ends where it did, from the same draws; two products are of half the rows."""
    hidden = "architecture.discriminator.hidden=[8,6]"
    made = compose("update=simultaneous", "update.shared_fakes=true", "batch_size=4", "device=cpu", hidden, "trick=[]")
    parts = Assembly(made)
    parts.prepare(1)
    parts.step()  # makes the moments
    state = State(parts.game, {"d": parts.d, "g": parts.g}, parts.meters, parts.device)
    saved = state.copy()
    counts, ends = [], []
    for narrowed in (False, True):
        state.put_back(saved)
        parts.prepare(1)
        module, tensors = traced(parts.round, list(state.tensors().values()), WRITTEN_OUT)
        if narrowed:
            narrow(module, tensors)
        asked_for(module)
        state.put_back(saved)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*tensors)
        counts.append(counter.get_total_flops())
        ends.append(state.copy().tensors)
    pixels = 64
    assert counts[0] - counts[1] == 2 * 4 * (8 * 6 + pixels * 8)
    for name, one in ends[0].items():
        torch.testing.assert_close(ends[1][name], one, rtol=1e-4, atol=1e-6, msg=name)
