"""z from a standard normal."""

import math

import torch
from torch import Tensor

from gantool.game.types import Device, Seeded


class Normal:
    """Standard normal; truncation redraws |z| > t (Brock et al. 2019, section 3.1), here by the inverse CDF at once."""

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        return torch.randn(n, dim, device=device, generator=generator)

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        mass = math.erf(truncation / math.sqrt(2)) / 2  # between 0 and the bound
        uniform = torch.rand(n, dim, device=device, generator=generator, dtype=torch.float64)
        z = torch.special.ndtri(0.5 + (2 * uniform - 1) * mass)
        return z.clamp(-truncation, truncation).float()
