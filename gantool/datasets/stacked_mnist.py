"""Three digits in the colours of one image: a dataset of a thousand modes that can be counted."""

import torch

from gantool.datasets.torchvision_sets import TorchvisionSet
from gantool.game.images import split_generator
from gantool.game.ranges import Count, Natural
from gantool.game.types import Images


class StackedMNIST:
    """Red, green and blue are three digits of MNIST, drawn with replacement (Metz et al. 2017; Srivastava et al. 2017).

    The label is the number 0 to 999 that they read as, red first. The test split stacks MNIST's test digits.
    """

    flip = False

    def __init__(
        self, root: str, resolution: Count = 28, download: bool = True, size: Count = 100_000, seed: Natural = 0
    ):
        self.digits = TorchvisionSet("mnist", root, resolution, 1, download)
        self.shape = (3, resolution, resolution)
        self.names = tuple(f"{number:03d}" for number in range(1000))
        self.size, self.seed = size, seed

    def load(self, split: str = "train") -> Images:
        digits = self.digits.load(split)
        pick = torch.randint(len(digits.labels), (self.size, 3), generator=split_generator(self.seed, split))
        pixels = digits.pixels.index_select(0, pick.flatten()).view(self.size, *self.shape)
        hundreds, tens, ones = digits.labels[pick].unbind(dim=1)
        return Images(pixels, 100 * hundreds + 10 * tens + ones, self.names)
