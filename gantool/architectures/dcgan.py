"""Deep convolutional nets for any resolution b * 2^n with b = 4 to 7 and n >= 1, and any number of channels."""

import math
from functools import partial
from typing import Literal

from torch import nn

from gantool.errors import UsageError
from gantool.game import networks
from gantool.game.ranges import Count, NonNegative, Share
from gantool.game.types import Shape


def stages(shape: Shape) -> tuple[int, int]:
    """(size of the smallest map, number of doublings) for data (C, H, W)."""
    if len(shape) != 3:
        raise UsageError("architecture=dcgan is for images, this dataset holds points: take architecture=mlp")
    size = shape[1]
    doublings = int(math.log2(size // 4)) if size >= 8 else 0
    if shape[1] != shape[2] or not 8 <= size <= 256 or size % 2**doublings:
        raise UsageError(
            f"architecture=dcgan cannot build {shape[1]} x {shape[2]} pixels: take dataset.resolution=8, 16, 28, 32, "
            "48, 64, 96, 128, 256, or another number from 8 to 256 that is 4, 5, 6 or 7 times a power of two"
        )
    return size // 2**doublings, doublings


class Generator(networks.Generator):
    """Strided transposed convolutions with BatchNorm and ReLU, tanh at the end (Radford et al. 2015, section 3).

    Dropout and noise never stop.
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int,
        num_classes: int = 0,
        features: Count = 64,
        max_features: Count = 512,
        normalization: Literal["batch", "layer", "none"] = "batch",
        leak: NonNegative = 0.0,
        dropout: Share = 0.0,
        noise: NonNegative = 0.0,
    ):
        super().__init__(shape, latent_dim, num_classes)
        base, doublings = stages(shape)
        widths = [min(features * 2**i, max_features) for i in reversed(range(doublings))]
        bias = normalization != "batch"  # which would take it off again
        more = partial(networks.hidden, dims=2, normalization=normalization, leak=leak, always=(dropout, noise))
        layers: list[nn.Module] = [
            nn.Linear(self.inputs, widths[0] * base**2, bias=bias),
            nn.Unflatten(1, (widths[0], base, base)),
            *more(widths[0]),
        ]
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias), *more(outputs)]
        layers += [nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1), networks.ToImage(shape)]
        self.body = nn.Sequential(*layers)
        self.apply(networks.initialise)


class Discriminator(networks.Discriminator):
    """Strided convolutions with leaky ReLU, BatchNorm in all but the first (Radford et al. 2015, section 3)."""

    by_example = True

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        features: Count = 64,
        max_features: Count = 512,
        normalization: Literal["batch", "layer", "none"] = "batch",
        leak: NonNegative = 0.2,
        dropout: Share = 0.0,
    ):
        super().__init__(shape, num_classes, logits)
        base, halvings = stages(shape)
        widths = [self.input_shape[0], *(min(features * 2**i, max_features) for i in range(halvings))]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            kind = normalization if i else "none"
            layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=kind != "batch"))
            layers += networks.hidden(outputs, 2, kind, leak, dropout)
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.num_features = widths[-1] * base**2
        self.head = nn.Linear(self.num_features, logits)
        self.apply(networks.initialise)
