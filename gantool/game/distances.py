"""Euclidean distances in float64, in pieces that bound the memory. N examples, M others, F numbers each.

They come from a matrix product, |x|^2 + |y|^2 - 2 <x, y>, which loses digits far from 0 only: centre the data first.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gantool.game.images import to_float

ROOM = 2**23  # numbers of a piece: 64 MiB
Report = Callable[[str, int, int], None]  # of what, how much is done, of how much


def exact(device: torch.device) -> torch.device:
    """Where float64 is to be had: MPS has none, and the CPU stands in for it."""
    return torch.device("cpu") if device.type == "mps" else device


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, F), (M, F) float64 -> (N, M)."""
    squares = torch.addmm(y.square().sum(dim=1), x, y.T, alpha=-2)
    return squares.add_(x.square().sum(dim=1, keepdim=True)).clamp_(min=0)


def pieces(examples: Tensor, beside: int) -> Iterator[Tensor]:
    """As many rows at a time as have room where each needs `beside` numbers."""
    return iter(examples.split(max(1, ROOM // beside)))


def nearest(
    examples: Tensor,
    others: Tensor,
    k: int,
    device: torch.device,
    report: Report | None = None,
    mirrored: bool = False,  # is each other as near as the nearer of it and its mirror image? Of images only
) -> tuple[Tensor, Tensor]:
    """Distances (N, k) to the k nearest others, the nearest first, and their indices (N, k); both on the CPU.

    Both sets are (N, *data shape), floats or uint8 pixels, which count from -1 to 1.
    """
    device = exact(device)
    center = to_float(others[: ROOM // others[0].numel()]).flatten(1).mean(dim=0).double()
    x = _flat(examples, center, device)
    best, index = x.new_full((len(x), k), torch.inf), torch.full((len(x), k), -1, device=device)
    first = 0
    for piece in pieces(others, max(len(x), x.shape[1])):
        here = torch.arange(first, first + len(piece), device=device).expand(len(x), -1)
        squares = squared_distances(x, _flat(piece, center, device))
        if mirrored and piece.dim() == 4:
            squares = torch.minimum(squares, squared_distances(x, _flat(piece.flip(3), center, device)))
        found = torch.cat([best, squares], dim=1)
        best, which = found.topk(k, dim=1, largest=False)
        index, first = torch.cat([index, here], dim=1).gather(1, which), first + len(piece)
        if report:
            report("neighbours", first, len(others))
    return best.sqrt().cpu(), index.cpu()


def _flat(examples: Tensor, center: Tensor, device: torch.device) -> Tensor:
    return (to_float(examples).flatten(1).double() - center).to(device)
