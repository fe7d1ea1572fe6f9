"""Handwritten digits that come with scikit-learn: real data without a download."""

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
        from sklearn.datasets import load_digits

        bunch = load_digits()  # values 0 to 16
        pixels = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(bunch.target).long()
        before = F.one_hot(labels).cumsum(0) - 1  # (M, 10) how many of each class there were
        rank = before.gather(1, labels.unsqueeze(1)).squeeze(1)
        test = (rank % 10 == 0) & (rank < 10 * HELD_OUT)
        mine = test if split == "test" else ~test
        return Images(resize(pixels[mine], self.shape[-1]), labels[mine], self.names)
