"""z from a sphere."""

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.types import Device, Seeded


class Sphere:
    """Uniform on the sphere of radius sqrt(dim), where a normal's mass lies in high dimension (White 2016)."""

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        z = torch.randn(n, dim, device=device, generator=generator)
        return torch.nn.functional.normalize(z, dim=1) * dim**0.5

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        raise UsageError("a sphere has no tails to cut: leave truncation out, or train with prior=normal")
