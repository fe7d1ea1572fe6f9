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
        exact = torch.device(device or "cpu").type == "cpu"  # MPS has no float64
        dtype = torch.float64 if exact else torch.float32
        return bent(torch.rand(n, dim, device=device, generator=generator, dtype=dtype), truncation).float()


def bent(uniform: Tensor, truncation: float) -> Tensor:
    """Draws from [0, 1), of any shape -> as many from a standard normal within +- truncation, in the same precision."""
    mass = math.erf(truncation / math.sqrt(2))
    if uniform.dtype == torch.float64:
        z = torch.special.ndtri(0.5 + (2 * uniform - 1) * (mass / 2))
    else:  # MPS has no ndtri; 0 would be mapped to minus infinity
        above = uniform.clamp(min=torch.finfo(uniform.dtype).eps / 4)
        z = math.sqrt(2) * torch.erfinv((2 * above - 1) * mass)
    return z.clamp(-truncation, truncation)
