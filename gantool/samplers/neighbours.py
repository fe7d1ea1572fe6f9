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
    scatter plot with a line from each to its neighbours.
    """

    def __init__(self, neighbours: Count = 3, columns: Count | None = None):
        self.neighbours, self.columns = neighbours, columns

    def see(self, data: Images) -> None:
        """The training split, which it is shown before it is called."""
        self.data = data

    def __call__(self, batches: Iterable[Tensor], reference: Tensor | None, out: Path) -> Path:
        """Batches (N, *data shape) on the CPU -> the file written; `out` without a suffix gets one."""
        samples = torch.cat(list(batches))
        _, index = nearest(samples, self.data.pixels, min(self.neighbours, len(self.data.pixels)), torch.device("cpu"))
        found = to_float(self.data.pixels[index])  # (N, neighbours, *data shape)
        out = ending(out, ".png")
        columns = self.columns or max(1, round((len(samples) / (1 + self.neighbours)) ** 0.5))
        pictures.neighbours(samples, found, out, columns=columns, reference=reference)
        return out
