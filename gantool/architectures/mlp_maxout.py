"""The fully connected nets of 2014, as in the released configuration (github.com/goodfeli/adversarial, mnist.yaml)."""

import math

from torch import Tensor, nn

from gantool.game import networks
from gantool.game.ranges import Count, Positive, Share
from gantool.game.types import Shape


class Generator(networks.Generator):
    """Two hidden layers of ReLU, sigmoid pixels, weights uniform in [-init, init] (Goodfellow et al. 2014)."""

    def __init__(
        self, shape: Shape, latent_dim: int, num_classes: int = 0, hidden: Count = 1200, init: Positive = 0.05
    ):
        super().__init__(shape, latent_dim, num_classes)
        layers = [nn.Linear(self.inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Linear(hidden, math.prod(shape)), networks.ToImage(shape, "sigmoid"))
        _uniform(self.body, init)


class Discriminator(networks.Discriminator):
    """Two maxout layers, dropout on what enters each layer (Goodfellow et al. 2014; maxout: Goodfellow et al. 2013).

    It sees pixels in [0, 1], so that what is left out is black.
    """

    by_example = True

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        units: Count = 240,
        pieces: Count = 5,
        input_dropout: Share = 0.2,
        dropout: Share = 0.5,
        init: Positive = 0.005,
    ):
        super().__init__(shape, num_classes, logits)
        self.trunk = nn.Sequential(
            networks.ToShare(shape),
            nn.Flatten(),
            nn.Dropout(input_dropout),
            Maxout(self.inputs, units, pieces),
            nn.Dropout(dropout),
            Maxout(units, units, pieces),
            nn.Dropout(dropout),
        )
        self.num_features = units
        self.head = nn.Linear(units, logits)
        _uniform(self, init)


class Maxout(nn.Module):
    """(N, inputs) -> (N, units): the largest of `pieces` linear maps a unit."""

    by_example = True

    def __init__(self, inputs: int, units: int, pieces: int):
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, units * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


def _uniform(net: nn.Module, init: float) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -init, init)
            nn.init.zeros_(layer.bias)
