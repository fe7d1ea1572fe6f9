"""Noise within D."""

from typing import Any

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.noise import drawn_like
from gantool.game.ranges import NonNegative
from gantool.game.surgery import LAYERS
from gantool.game.types import Source


class DiscriminatorNoise(Trick):
    """Gaussian noise on what enters each layer of D, while it trains (Salimans et al. 2016, section 6.1, its code).

    `sigma_input` is of what D's first layer sees: pixels in [-1, 1], or in [0, 1] where the net begins with ToShare, as
    there, with a noise of 0.3. A class that D is told by a projection has none.
    """

    needs_critic = rewrites_last = True

    def __init__(self, sigma_input: NonNegative = 0.6, sigma: NonNegative = 0.5):
        super().__init__()
        self.sigma_input, self.sigma = sigma_input, sigma

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        net = nets["discriminator"]
        label_only = getattr(net, "projection", None)
        layers = [layer for layer in net.modules() if isinstance(layer, LAYERS) and layer is not label_only]
        for index, layer in enumerate(layers):
            layer.register_forward_pre_hook(Noise(self.sigma if index else self.sigma_input))


class Noise:
    """A forward pre-hook: input + sigma * normal, in training mode only."""

    def __init__(self, sigma: float):
        self.sigma = sigma

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        return (inputs[0] + self.sigma * drawn_like(torch.randn, inputs[0]), *inputs[1:]) if layer.training else None
