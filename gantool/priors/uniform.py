"""z from a cube."""

import torch
from torch import Tensor

from gantool.game.types import Device, Seeded


class Uniform:
    """Uniform on [-1, 1] (Goodfellow et al. 2014); truncation t shrinks the cube to [-t, t]."""

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        return 2 * torch.rand(n, dim, device=device, generator=generator) - 1

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        return min(truncation, 1.0) * self(n, dim, device, generator)
