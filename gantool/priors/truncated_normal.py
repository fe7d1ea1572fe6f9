"""z from a normal without its tails."""

from torch import Tensor

from gantool.game.ranges import Positive
from gantool.game.types import Device, Seeded
from gantool.priors.normal import Normal


class TruncatedNormal(Normal):
    """A standard normal given |z| <= bound, each number by itself (Brock et al. 2019, section 3.1, in training)."""

    def __init__(self, bound: Positive = 2.0):
        self.bound = bound

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        return super().truncated(n, dim, self.bound, device, generator)

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        return super().truncated(n, dim, min(truncation, self.bound), device, generator)
