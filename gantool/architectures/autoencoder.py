"""The nets of BEGAN: a discriminator that encodes and decodes, and a generator that is such a decoder.

Images of b * 2^n pixels with b = 4 to 8, any channels; points get fully connected layers instead of convolutions.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game import networks
from gantool.game.ranges import Count
from gantool.game.types import Shape, Verdict


class Generator(networks.Generator):
    """The discriminator's decoder with weights of its own (Berthelot et al. 2017, section 3.5), tanh at the end.

    The paper's last convolution is bare; tanh keeps what D is shown in the range of the reals and of a picture.
    """

    def __init__(self, shape: Shape, latent_dim: int, num_classes: int = 0, features: Count = 64, repeats: Count = 2):
        super().__init__(shape, latent_dim, num_classes)
        self.body = nn.Sequential(decoder(self.inputs, shape, features, repeats), networks.ToImage(shape))


class Discriminator(networks.Discriminator):
    """An autoencoder, whose verdict on v is L(v) = |v - D(v)|^eta, the mean over v's numbers (ibid., section 3.1).

    With classes, the encoder sees the label beside the example, and only the example is decoded. Features are the
    bottleneck h. The decoder ends without a squashing function, as in figure 1. Further logits, for an objective that
    asks more than how real an example is, are linear in h.
    """

    energy = by_example = True

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        features: Count = 64,
        repeats: Count = 2,
        hidden: Count = 64,
        eta: Literal[1, 2] = 1,
    ):
        super().__init__(shape, num_classes, logits)
        self.eta, self.num_features = eta, hidden
        self.trunk = encoder(self.input_shape, hidden, features, repeats)
        self.head = decoder(hidden, shape, features, repeats)
        self.further = nn.Linear(hidden, logits - 1) if logits > 1 else None

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        hidden = self.trunk(self.labelled(image, label))
        missed = (image - self.head(hidden)).flatten(1)  # in float32, as images are, also where autocast decodes
        error = missed.abs().pow(self.eta).mean(dim=1, keepdim=True)
        return Verdict(error if self.further is None else torch.cat([error, self.further(hidden)], dim=1), hidden)


def stages(shape: Shape) -> tuple[int, int]:
    """(size of the smallest map, number of halvings) for data (C, H, W): down to 8 pixels (ibid., section 4.1)."""
    size, halvings = shape[1], 0
    while size > 8 and size % 2 == 0:
        size, halvings = size // 2, halvings + 1
    if shape[1] != shape[2] or not 8 <= shape[1] <= 256 or size > 8:
        raise UsageError(
            f"architecture=autoencoder cannot build {shape[1]} x {shape[2]} pixels: take dataset.resolution=8, 16, 28, "
            "32, 48, 64, 96, 128, 256, or another number up to 256 that is 4, 5, 6 or 7 times a power of two"
        )
    return size, halvings


def encoder(shape: Shape, hidden: int, features: int, repeats: int) -> nn.Sequential:
    """(N, *shape) -> (N, hidden): `repeats` 3 x 3 convolutions a size, one of stride 2 between sizes, then linear.

    Each halving adds `features` channels. ELU follows every convolution (ibid., section 3.5).
    """
    if len(shape) == 1:
        return dense(shape[0], hidden, features, repeats)
    base, halvings = stages(shape)
    layers = convolution(shape[0], features)
    for i in range(1, halvings + 2):
        layers += [layer for _ in range(repeats) for layer in convolution(i * features, i * features)]
        if i <= halvings:
            layers += convolution(i * features, (i + 1) * features, stride=2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear((halvings + 1) * features * base**2, hidden))


def decoder(hidden: int, shape: Shape, features: int, repeats: int) -> nn.Sequential:
    """(N, hidden) -> (N, *shape): linear, then `repeats` 3 x 3 convolutions a size, of as many channels each.

    Nearest neighbours between sizes, and a last convolution without activation (ibid., figure 1).
    """
    if len(shape) == 1:
        return dense(hidden, shape[0], features, repeats)
    base, doublings = stages(shape)
    layers: list[nn.Module] = [nn.Linear(hidden, features * base**2), nn.Unflatten(1, (features, base, base))]
    for i in range(doublings + 1):
        layers += [nn.Upsample(scale_factor=2)] if i else []
        layers += [layer for _ in range(repeats) for layer in convolution(features, features)]
    return nn.Sequential(*layers, nn.Conv2d(features, shape[0], 3, padding=1))


def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ELU()]


def dense(inputs: int, outputs: int, features: int, repeats: int) -> nn.Sequential:
    """For points: `repeats` layers of `features` ELU units, then linear."""
    widths = [inputs, *[features] * repeats]
    layers = [each for a, b in zip(widths, widths[1:], strict=False) for each in (nn.Linear(a, b), nn.ELU())]
    return nn.Sequential(*layers, nn.Linear(features, outputs))
