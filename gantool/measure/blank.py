"""A dataset of any size that takes no disk and no time to make: for measuring how the speed depends on the size."""

import mmap
import tempfile
from typing import Any

import numpy as np
import torch

from gantool.game.types import Images

FEW = 1_000_000


class Blank:
    """Black images: in memory while they are few, else mapped from a file without blocks."""

    names: tuple[str, ...] = ()
    flip = False

    def __init__(self, size: int, resolution: int, channels: int = 3):
        self.size, self.shape = size, (channels, resolution, resolution)

    def load(self, split: str = "train") -> Images:
        if self.size <= FEW:
            return Images(torch.full((self.size, *self.shape), 1, dtype=torch.uint8), torch.full((self.size,), -1))
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the map keeps it)
        pixels: Any = np.memmap(file, np.uint8, "w+", shape=(self.size, *self.shape))
        if hasattr(mmap, "MADV_RANDOM"):
            pixels.base.madvise(mmap.MADV_RANDOM)  # as prepared ones are
        return Images(torch.from_numpy(pixels), torch.full((self.size,), -1))
