"""Mixtures of Gaussians in the plane, whose modes can be counted."""

import math

import torch
from torch import Tensor

from gantool.game.images import split_generator
from gantool.game.ranges import Count, Natural, Positive
from gantool.game.types import Images


class Mixture:
    """Isotropic Gaussians of equal weight around `centers` (modes, 2). A point's label is the index of its mode."""

    flip = False

    def __init__(self, centers: Tensor, std: Positive, size: Count, seed: Natural):
        self.centers, self.std, self.size, self.seed = centers, std, size, seed
        self.shape = (2,)
        self.names = tuple(map(str, range(len(centers))))

    def load(self, split: str = "train") -> Images:
        generator = split_generator(self.seed, split)
        labels = torch.randint(len(self.centers), (self.size,), generator=generator)
        noise = torch.randn(self.size, 2, generator=generator)
        return Images(self.centers[labels] + self.std * noise, labels, self.names)


class Ring(Mixture):
    """Equally spaced on a circle, the first at (radius, 0) (Metz et al. 2017, appendix A)."""

    def __init__(
        self,
        modes: Count = 8,
        radius: Positive = 2.0,
        std: Positive = 0.02,
        size: Count = 100_000,
        seed: Natural = 0,
    ):
        angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
        centers = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        super().__init__(centers.float(), std, size, seed)


class Grid(Mixture):
    """On a square grid around 0 (Srivastava et al. 2017, section 4.1; spacing, std: Lin et al. 2018, section 4.1)."""

    def __init__(
        self,
        side: Count = 5,
        spacing: Positive = 2.0,
        std: Positive = 0.05,
        size: Count = 100_000,
        seed: Natural = 0,
    ):
        axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
        super().__init__(torch.cartesian_prod(axis, axis).float(), std, size, seed)
