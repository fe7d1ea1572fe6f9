"""Fully connected nets that learn to classify MNIST from few labels (Salimans et al. 2016, section 6.1).

As in the released code (github.com/openai/improved-gan, mnist_svhn_cifar10/train_mnist_feature_matching.py).
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from gantool.game import networks
from gantool.game.noise import drawn_like
from gantool.game.ranges import Count, NonNegative
from gantool.game.types import Shape

PIXEL_VARIANCE = 0.07  # of a pixel in [0, 1]: in MNIST, and in scikit-learn's digits
RELU_VARIANCE = 0.5 - 0.5 / math.pi  # of max(0, x), x standard normal


class Generator(networks.Generator):
    """Hidden layers of softplus after BatchNorm, then sigmoid pixels through normalised weights."""

    def __init__(
        self,
        shape: Shape,
        latent_dim: int,
        num_classes: int = 0,
        hidden: list[Count] = [500, 500],  # noqa: B006 (read only)
    ):
        super().__init__(shape, latent_dim, num_classes)
        widths = [self.inputs, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.Softplus()]
        last = Layer(widths[-1], math.prod(shape), learnt=True)
        self.body = nn.Sequential(*layers, last, networks.ToImage(shape, "sigmoid"))


class Discriminator(networks.Discriminator):
    """ReLU layers of normalised weights, with Gaussian noise on what enters each layer.

    Weight vectors are as long as gives outputs of variance 1, about, as the released code measures it on a first batch.
    Only the last layer learns their length: others could drown the noise by making theirs long.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        hidden: list[Count] = [1000, 500, 250, 250, 250],  # noqa: B006 (read only)
        input_noise: NonNegative = 0.3,
        noise: NonNegative = 0.5,
    ):
        super().__init__(shape, num_classes, logits)
        widths, stds = [self.inputs, *hidden], [input_noise] + [noise] * len(hidden)
        variances = [PIXEL_VARIANCE if len(shape) == 3 else 1.0] + [RELU_VARIANCE] * len(hidden)
        lengths = [(variance + std**2) ** -0.5 for variance, std in zip(variances, stds, strict=True)]
        layers: list[nn.Module] = []
        for inputs, outputs, std, length in zip(widths, hidden, stds, lengths, strict=False):
            layers += [Layer(inputs, outputs, std, length), nn.ReLU()]
        self.trunk = nn.Sequential(networks.ToShare(shape), nn.Flatten(), *layers)
        self.num_features = widths[-1]
        self.head = Layer(widths[-1], logits, stds[-1], lengths[-1], learnt=True)


class Layer(nn.Linear):
    """A linear map of normalised weights (Salimans and Kingma 2016) and, in training, of noise beside its input."""

    def __init__(self, inputs: int, outputs: int, noise: float = 0.0, length: float = 1.0, learnt: bool = False):
        super().__init__(inputs, outputs)
        self.noise = noise  # standard deviation
        nn.init.normal_(self.weight, 0.0, 0.1)
        nn.init.zeros_(self.bias)
        register_parametrization(self, "weight", Length(torch.full((outputs, 1), length), learnt))

    def forward(self, x: Tensor) -> Tensor:
        if self.noise and self.training:
            x = x + self.noise * drawn_like(torch.randn, x)
        return super().forward(x)


class Length(nn.Module):
    """(outputs, inputs) -> the same, each row of the length that is given, which stays so unless it is learnt."""

    length: Tensor

    def __init__(self, length: Tensor, learnt: bool):
        super().__init__()
        if learnt:
            self.length = nn.Parameter(length)
        else:
            self.register_buffer("length", length, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return torch._weight_norm(weight, self.length)  # length * weight / |weight|, in one pass
