"""Random numbers of the shape of a tensor."""

from collections.abc import Callable

import torch
from torch import Tensor


def drawn_like(draw: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Of `draw` (torch.randn or torch.rand): shape, type and device of `x`, in the order in which it lies in memory.

    On a CPU torch's own randn_like and rand_like draw one by one, slowly, where a tensor is channels last.
    """
    if x.device.type != "cpu":
        return {torch.randn: torch.randn_like, torch.rand: torch.rand_like}[draw](x)
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    numbers = draw([x.shape[i] for i in order], dtype=x.dtype)
    return numbers.permute([order.index(i) for i in range(x.dim())])
