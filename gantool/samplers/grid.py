"""Samples side by side."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from gantool.game.ranges import Count
from gantool.runs import pictures
from gantool.runs.folder import ending


class Grid:
    """One PNG: images in rows, or points as a scatter plot over the data."""

    def __init__(self, columns: Count | None = None):
        self.columns = columns

    def __call__(self, batches: Iterable[Tensor], reference: Tensor | None, out: Path) -> Path:
        """Batches (N, *data shape) on the CPU -> the file written; `out` without a suffix gets one."""
        out = ending(out, ".png")
        samples = torch.cat(list(batches))
        columns = self.columns or max(1, round(len(samples) ** 0.5))
        pictures.picture(samples, out, columns=columns, reference=reference)
        return out
