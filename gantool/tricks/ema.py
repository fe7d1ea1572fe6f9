"""The generator that is deployed: an average over its recent past."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList

from gantool.game.hooks import Clock, Trick
from gantool.game.ranges import NonNegative, Positive
from gantool.game.surgery import frozen_copy
from gantool.game.types import Source


class EMA(Trick):
    """Exponential moving average of G's weights, sampled and evaluated in its place (Karras et al. 2018).

    The half-life counts images, so it means the same for any batch size. While few have been seen it is at most
    `ramp_up` times their number, so that the average forgets the untrained start (Karras et al. 2020b, StyleGAN2-ADA).
    Buffers, such as the averages of BatchNorm, are those of the present; spectral_norm measures the averaged weights.
    """

    half_life: Positive

    def __init__(self, half_life: Positive = 10_000, ramp_up: NonNegative = 0.05):
        super().__init__()
        self.half_life, self.ramp_up, self.clock = half_life, ramp_up, Clock()

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        self.batch_size = source.batch_size

    def ready(self, nets: nn.ModuleDict) -> None:
        self.average = frozen_copy(nets["generator"])

    def share(self) -> Tensor:
        """How far the average moves towards the present weights in this step, in [0, 1]."""
        seen = (self.clock.now * self.batch_size).float()
        half_life = torch.full_like(seen, self.half_life)
        if self.ramp_up:
            half_life = torch.minimum(half_life, self.ramp_up * seen)
        return -torch.expm1(-math.log(2) * self.batch_size / half_life.clamp(min=1e-8))  # 1 - 2^-x to the last digit

    def after_g(self, nets: nn.ModuleDict) -> None:
        self.clock.tick()
        live: list[Tensor] = list(nets["generator"].parameters())
        average: list[Tensor] = list(self.average.parameters())
        moved = torch._foreach_sub(live, average)
        torch._foreach_mul_(moved, self.share())
        torch._foreach_add_(average, list(moved))
        lists = [weight for weight in self.average.modules() if isinstance(weight, ParametrizationList)]
        normed = [weight for weight in lists if any(isinstance(each, _SpectralNorm) for each in weight)]
        own = {id(u) for weight in normed for each in weight if isinstance(each, _SpectralNorm) for u in each.buffers()}
        pairs = list(zip(self.average.buffers(), nets["generator"].buffers(), strict=True))
        if kept := [pair for pair in pairs if id(pair[0]) not in own]:
            torch._foreach_copy_([mine for mine, _ in kept], [now for _, now in kept])
        for weight in normed:
            weight.train()()  # power iteration

    def deploy(self, generator: nn.Module) -> nn.Module:
        return self.average
