"""A small network that tells classes apart."""

import math

import torch
from torch import Tensor, nn

from gantool.game.images import to_float
from gantool.game.types import Shape

FIRST, MOST = 16, 128  # channels of the convolutions
HIDDEN = 64  # units a layer, without convolutions
SMALL = 7  # pixels


class Network(nn.Module):
    """Convolutions, twice as many at half the resolution until 7 pixels or less are left, then their mean.

    For points and images of 7 pixels or less two hidden layers, after bringing each number to mean 0 and variance 1.
    """

    def __init__(self, shape: Shape, classes: int):
        super().__init__()
        small = len(shape) != 3 or min(shape[1:]) <= SMALL
        layers, width = _hidden(math.prod(shape)) if small else _convolutions(*shape)
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As a dataset holds them, uint8 (N, C, H, W) or float (N, P) -> features (N, F), logits (N, classes)."""
        features = self.body(to_float(pixels))
        features = features.mean(dim=(2, 3)) if features.dim() == 4 else features
        return features, self.head(features)


def _convolutions(channels: int, height: int, width: int) -> tuple[list[nn.Module], int]:
    """One of 3 x 3, and two after each halving; and how many channels come out."""
    side, have = min(height, width), FIRST
    layers = _convolution(channels, have)
    while side > SMALL:
        side, before, have = side // 2, have, min(2 * have, MOST)
        layers += [nn.MaxPool2d(2), *_convolution(before, have), *_convolution(have, have)]
    return layers, have


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _hidden(numbers: int) -> tuple[list[nn.Module], int]:
    standard = nn.BatchNorm1d(numbers, affine=False, momentum=None)  # of all that was trained on
    return [nn.Flatten(), standard, nn.Linear(numbers, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()], HIDDEN
