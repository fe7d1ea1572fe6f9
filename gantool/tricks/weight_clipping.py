"""The first Lipschitz constraint."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.ranges import Positive


class WeightClipping(Trick):
    """D's weights are clamped to [-c, c] after each of its steps (Arjovsky et al. 2017, algorithm 1)."""

    lipschitz = needs_critic = of_weights = True

    def __init__(self, c: Positive = 0.01):
        super().__init__()
        self.c = c

    def bound_d(self, nets: nn.ModuleDict) -> None:
        weights: list[Tensor] = [weight for weight in nets["discriminator"].parameters() if weight.requires_grad]
        torch._foreach_clamp_min_(weights, -self.c)
        torch._foreach_clamp_max_(weights, self.c)
