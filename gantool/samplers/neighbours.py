"""Samples beside the training examples that they are nearest to."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from gantool.game.distances import nearest
from gantool.game.images import to_float
from gantool.game.ranges import Count
from gantool.game.types import Images
from gantool.runs import pictures
from gantool.runs.folder import ending


class Neighbours:
    """One PNG: each sample, framed, and at its right the `neighbours` training examples nearest to it, nearest first.

    It shows that a generator has not memorised the training set (Goodfellow et al. 2014, figure 2). Points become a
    scatter plot with a line from each to its neighbours. Where the dataset mirrors its examples (`dataset.flip`), the
    nearer of an example and its mirror image is meant, and shown.
    """

    def __init__(self, neighbours: Count = 3, columns: Count | None = None):
        self.neighbours, self.columns = neighbours, columns

    def see(self, data: Images, flip: bool = False) -> None:
        """The training split, which it is shown before it is called; `flip`: did the run mirror its examples?"""
        self.data, self.flip = data, flip and data.pixels.dim() == 4

    def __call__(self, batches: Iterable[Tensor], reference: Tensor | None, out: Path) -> Path:
        """Batches (N, *data shape) on the CPU -> the file written; `out` without a suffix gets one."""
        samples = torch.cat(list(batches))
        k, cpu = min(self.neighbours, len(self.data.pixels)), torch.device("cpu")
        _, index = nearest(samples, self.data.pixels, k, cpu, mirrored=self.flip)
        found = to_float(self.data.pixels[index])  # (N, neighbours, *data shape)
        if self.flip:
            found = _nearer(samples[:, None], found, found.flip(4))
        out = ending(out, ".png")
        columns = self.columns or max(1, round((len(samples) / (1 + self.neighbours)) ** 0.5))
        pictures.neighbours(samples, found, out, columns=columns, reference=reference)
        return out


def _nearer(samples: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """(N, 1, C, H, W), twice (N, K, C, H, W) -> of each two the one that is nearer to the sample."""
    far, near = ((each - samples).square().sum(dim=(2, 3, 4), keepdim=True) for each in (one, other))
    return torch.where(near < far, other, one)
