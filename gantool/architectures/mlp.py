"""Fully connected nets, for points and small images."""

import math
from typing import Literal

from torch import nn

from gantool.game import networks
from gantool.game.ranges import Count, NonNegative, Share
from gantool.game.types import Shape


class Generator(networks.Generator):
    """Hidden layers of ReLU or leaky ReLU, then one number a dimension of the data. Dropout and noise never stop."""

    def __init__(
        self,
        shape: Shape,
        latent_dim: int,
        num_classes: int = 0,
        hidden: list[Count] = [256, 512],  # noqa: B006 (read only)
        normalization: Literal["batch", "layer", "none"] = "none",
        leak: NonNegative = 0.0,
        dropout: Share = 0.0,
        noise: NonNegative = 0.0,
        output: Literal["tanh", "sigmoid"] = "tanh",
    ):
        super().__init__(shape, latent_dim, num_classes)
        widths = [self.inputs, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            more = networks.hidden(outputs, 0, normalization, leak, always=(dropout, noise))
            layers += [nn.Linear(inputs, outputs), *more]
        last = nn.Linear(widths[-1], math.prod(shape))
        self.body = nn.Sequential(*layers, last, networks.ToImage(shape, output))


class Discriminator(networks.Discriminator):
    """Hidden layers of leaky ReLU with dropout, then the verdict."""

    by_example = True

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        hidden: list[Count] = [512, 256],  # noqa: B006 (read only)
        normalization: Literal["batch", "layer", "none"] = "none",
        leak: NonNegative = 0.2,
        dropout: Share = 0.0,
    ):
        super().__init__(shape, num_classes, logits)
        widths = [self.inputs, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), *networks.hidden(outputs, 0, normalization, leak, dropout)]
        self.trunk = nn.Sequential(*layers)
        self.num_features = hidden[-1] if hidden else self.inputs
        self.head = nn.Linear(self.num_features, logits)
