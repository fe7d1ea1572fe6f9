"""Samples side by side."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gantool.game.ranges import Count
from gantool.runs import pictures
from gantool.runs.folder import ending
from gantool.runs.scatter import scatter


class Grid:
    """One PNG: images in rows, or points as a scatter plot over the data; where rows are ways, joined along them."""

    ways: bool = False

    def __init__(self, columns: Count | None = None, cell: Count = 64):
        self.columns, self.cell, self.asked = columns, cell, list[str]()

    def classes(self, labels: Tensor, names: Sequence[str]) -> None:
        """(N,) those of the samples, and what they are called, which it is told before it is called."""
        self.asked = [names[label] for label in labels.tolist()]

    def __call__(self, batches: Iterable[Tensor], reference: Tensor | None, out: Path) -> Path:
        """Batches (N, *data shape) on the CPU -> the file written; `out` without a suffix gets one."""
        out = ending(out, ".png")
        samples = torch.cat(list(batches))
        columns = self.columns or max(1, round(len(samples) ** 0.5))
        if self.ways and samples.dim() != 4:
            scatter(samples, reference, out, row=columns)
            return out
        pictures.picture(samples, out, columns=columns, reference=reference, classes=self.asked, cell=self.cell)
        return out
