"""Handwritten digits that come with scikit-learn: real data without a download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from gantool.game.images import check_split, resize
from gantool.game.ranges import Count
from gantool.game.types import Images

HELD_OUT = 18  # test examples a class


class Digits:
    """1,797 grey images of 8 x 8 pixels from 13 writers: the test part of "Optical recognition of handwritten digits".

    The test split is every tenth example of each class, up to 18, so that every class and writer is in both.
    """

    def __init__(self, resolution: Count = 8, flip: bool = False):
        self.shape = (1, resolution, resolution)
        self.names = tuple("0123456789")
        self.flip = flip

    def load(self, split: str = "train") -> Images:
        check_split(split)
        table = torch.from_numpy(_table())
        pixels = table[:, :-1].reshape(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
        labels = table[:, -1].long()
        before = F.one_hot(labels).cumsum(0) - 1  # (M, 10) how many of each class there were
        rank = before.gather(1, labels.unsqueeze(1)).squeeze(1)
        test = (rank % 10 == 0) & (rank < 10 * HELD_OUT)
        mine = test if split == "test" else ~test
        return Images(resize(pixels[mine], self.shape[-1]), labels[mine], self.names)


def _table() -> np.ndarray:
    """(1797, 65) pixels of 0 to 16, and the digit. Read without scikit-learn itself, which takes a second to load."""
    package = find_spec("sklearn")
    assert package and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0])
    return np.loadtxt(folder / "datasets/data/digits.csv.gz", delimiter=",")
