"""Noise on all that D sees."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Clock, Trick
from gantool.game.noise import drawn_like
from gantool.game.ranges import NonNegative
from gantool.game.schedules import Schedule


class InstanceNoise(Trick):
    """Gaussian noise on D's inputs, real and fake, annealed (Sønderby et al. 2016; Arjovsky and Bottou 2017)."""

    def __init__(self, sigma: NonNegative = 0.1, schedule: Schedule | None = None):
        super().__init__()
        self.sigma, self.schedule, self.clock = sigma, schedule, Clock()

    def joined(self, rounds: int) -> None:
        self.clock.now.fill_(rounds)

    def view(self, image: Tensor) -> Tensor:
        scale = self.sigma if self.schedule is None else self.sigma * self.schedule(self.clock.now)
        return image + scale * drawn_like(torch.randn, image)

    def after_round(self, nets: nn.ModuleDict) -> None:
        self.clock.tick()
