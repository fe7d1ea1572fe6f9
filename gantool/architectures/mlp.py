"""Fully connected nets, for points and small images."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

from gantool.game import networks
from gantool.game.ranges import Count, NonNegative, Share
from gantool.game.types import Shape


class Generator(networks.Generator):
    """Hidden layers of ReLU or leaky ReLU, then one number a dimension of the data."""

    def __init__(
        self,
        shape: Shape,
        latent_dim: int,
        num_classes: int = 0,
        hidden: list[Count] = [256, 512],  # noqa: B006 (read only)
        leak: NonNegative = 0.0,
        batch_norm: bool = False,
        output: Literal["tanh", "sigmoid"] = "tanh",
    ):
        super().__init__(shape, latent_dim, num_classes)
        widths = [self.inputs, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
            layers += [nn.Linear(inputs, outputs), *norm, nn.LeakyReLU(leak) if leak else nn.ReLU()]
        last = nn.Linear(widths[-1], math.prod(shape))
        self.body = nn.Sequential(*layers, last, networks.ToImage(shape, output))


class Discriminator(networks.Discriminator):
    """Hidden layers of leaky ReLU with dropout, then the verdict."""

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        hidden: list[Count] = [512, 256],  # noqa: B006 (read only)
        leak: NonNegative = 0.2,
        dropout: Share = 0.0,
    ):
        super().__init__(shape, num_classes, logits)
        self.trunk = nn.Sequential(nn.Flatten(), *_layers([self.inputs, *hidden], leak, dropout))
        self.num_features = hidden[-1] if hidden else self.inputs
        self.head = nn.Linear(self.num_features, logits)


def _layers(widths: Sequence[int], leak: float, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(leak)]
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers
