"""z from a cube."""

import torch
from torch import Tensor

from gantool.game.ranges import Positive
from gantool.game.types import Device, Seeded


class Uniform:
    """Uniform on [-bound, bound] (Goodfellow et al. 2014); truncation t shrinks the cube to [-t, t]."""

    def __init__(self, bound: Positive = 1.0):
        self.bound = bound

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        return self.bound * (2 * torch.rand(n, dim, device=device, generator=generator) - 1)

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        return min(truncation / self.bound, 1.0) * self(n, dim, device, generator)
