"""The convolutional nets with which InfoGAN was shown on MNIST, for any image whose sides are multiples of 4.

As in the released code (github.com/openai/InfoGAN, infogan/models/regularized_gan.py), and in table 1 of the appendix.
"""

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game import networks
from gantool.game.ranges import Count, NonNegative
from gantool.game.types import Shape


def base_of(shape: Shape) -> tuple[int, int]:
    """(height, width) of the smallest map, a quarter of the image's."""
    if len(shape) != 3:
        raise UsageError("architecture=dcgan_chen2016 is for images, this dataset holds points: take architecture=mlp")
    if shape[1] % 4 or shape[2] % 4:
        raise UsageError(
            f"architecture=dcgan_chen2016 cannot build {shape[1]} x {shape[2]} pixels: take a multiple of 4, such as "
            "dataset.resolution=28 or 32"
        )
    return shape[1] // 4, shape[2] // 4


class Generator(networks.Generator):
    """Two linear layers and two strided transposed convolutions, BatchNorm and ReLU between, sigmoid pixels."""

    def __init__(self, shape: Shape, latent_dim: int, num_classes: int = 0, features: Count = 64, hidden: Count = 1024):
        super().__init__(shape, latent_dim, num_classes)
        height, width = base_of(shape)
        area = 2 * features * height * width
        self.body = nn.Sequential(
            *dense(self.inputs, hidden, 0.0), *dense(hidden, area, 0.0), nn.Unflatten(1, (2 * features, height, width)),
            nn.ConvTranspose2d(2 * features, features, 4, 2, 1, bias=False),
            *networks.hidden(features, 2, "batch", 0.0),
            nn.ConvTranspose2d(features, shape[0], 4, 2, 1), networks.ToImage(shape, "sigmoid"),
        )  # fmt: skip
        self.apply(networks.initialise)


class Discriminator(networks.Discriminator):
    """Two strided convolutions and a linear layer of leaky ReLU, BatchNorm in all but the first; sees pixels in [0, 1].

    Its first number is linear in the last hidden layer; what an objective asks more of it (InfoGAN's Q) has a hidden
    layer of `recognition` units of its own.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        logits: int = 1,
        features: Count = 64,
        hidden: Count = 1024,
        recognition: Count = 128,
        leak: NonNegative = 0.01,
    ):
        super().__init__(shape, num_classes, logits)
        height, width = base_of(shape)
        self.num_features = hidden
        self.trunk = nn.Sequential(
            networks.ToShare(shape),
            nn.Conv2d(self.input_shape[0], features, 4, 2, 1), *networks.hidden(features, 2, "none", leak),
            nn.Conv2d(features, 2 * features, 4, 2, 1, bias=False), *networks.hidden(2 * features, 2, "batch", leak),
            nn.Flatten(), *dense(2 * features * height * width, hidden, leak),
        )  # fmt: skip
        self.head: nn.Module = nn.Linear(hidden, 1)
        if logits > 1:
            further = nn.Sequential(*dense(hidden, recognition, leak), nn.Linear(recognition, logits - 1))
            self.head = Beside(self.head, further)
        self.apply(networks.initialise)


class Beside(nn.Module):
    """(N, F) -> (N, A + B): what two heads make of the same features."""

    by_example = True

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.first(features), self.second(features)], dim=1)


def dense(inputs: int, outputs: int, leak: float) -> list[nn.Module]:
    """A linear map, BatchNorm, (leaky) ReLU."""
    return [nn.Linear(inputs, outputs, bias=False), *networks.hidden(outputs, 0, "batch", leak)]
