"""Coloured shapes, drawn on the spot: labelled images of any resolution without a download."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.images import split_generator, to_channels
from gantool.game.ranges import Count, Natural
from gantool.game.types import Images

SMALLEST = 8  # pixels; below, a star is a blob
CHUNK = 2**18  # pixels drawn at a time, so that they stay in the cache

# A shape is a signed distance: (n, H, W) coordinates -> (n, H, W), below 0 inside. All reach the unit circle.
Distance = Callable[[Tensor, Tensor], Tensor]


def circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 1


def ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.75).abs() - 0.25


def square(x: Tensor, y: Tensor) -> Tensor:
    return reduce(torch.maximum, _edges(x, y, 4))


def triangle(x: Tensor, y: Tensor) -> Tensor:
    return reduce(torch.maximum, _edges(x, y, 3))


def cross(x: Tensor, y: Tensor) -> Tensor:
    long, short = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    return torch.maximum(long - 0.95, short - 0.31)


def star(x: Tensor, y: Tensor) -> Tensor:
    """Five points: a pentagram is all that lies beyond at most one of a pentagon's edges."""
    first, *others = _edges(x, y, 5, math.cos(0.4 * math.pi))
    second = torch.full_like(first, -math.inf)
    for edge in others:
        first, second = torch.maximum(first, edge), torch.maximum(second, torch.minimum(first, edge))
    return second


def _edges(x: Tensor, y: Tensor, sides: int, apothem: float | None = None) -> list[Tensor]:
    """(n, H, W) each: how far beyond each edge of a regular polygon; by default of that within the unit circle."""
    turns = [2 * math.pi * side / sides for side in range(sides)]
    reach = math.cos(math.pi / sides) if apothem is None else apothem
    return [math.cos(turn) * x + math.sin(turn) * y - reach for turn in turns]


SHAPES: dict[str, Distance] = {each.__name__: each for each in (circle, ring, square, triangle, cross, star)}


class Shapes:
    """One shape an image, of random class, place, size, rotation and colour, on a dark ground; edges antialiased."""

    flip = False  # they are drawn at any angle

    def __init__(self, resolution: Count = 32, channels: Literal[1, 3] = 3, size: Count = 20_000, seed: Natural = 0):
        if resolution < SMALLEST:
            raise UsageError(f"dataset.resolution: shapes need at least {SMALLEST} pixels, got {resolution}")
        self.shape = (channels, resolution, resolution)
        self.names = tuple(SHAPES)
        self.size, self.seed = size, seed

    def load(self, split: str = "train") -> Images:
        generator = split_generator(self.seed, split)
        labels = torch.randint(len(SHAPES), (self.size,), generator=generator)
        draw = torch.rand(self.size, 10, generator=generator)  # all chance, before the drawing is cut into chunks
        pixels = torch.empty(self.size, *self.shape, dtype=torch.uint8)
        for kind, distance in enumerate(SHAPES.values()):
            for mine in (labels == kind).nonzero().squeeze(1).split(max(1, CHUNK // self.shape[-1] ** 2)):
                pixels[mine] = to_channels(_picture(distance, draw[mine], self.shape[-1]), self.shape[0])
        return Images(pixels, labels, self.names)


def _picture(distance: Distance, draw: Tensor, resolution: int) -> Tensor:
    """(n, 10) in [0, 1) -> uint8 (n, 3, H, W). The shape, of radius 0.4 to 0.8 half-widths, lies within the image."""
    radius, right, up, turn = (column.view(-1, 1, 1) for column in draw[:, :4].unbind(1))
    radius = 0.4 + 0.4 * radius
    axis = (torch.arange(resolution) + 0.5) * (2 / resolution) - 1
    x = (axis - (2 * right - 1) * (1 - radius)) / radius
    y = (axis.unsqueeze(1) - (2 * up - 1) * (1 - radius)) / radius
    cos, sin = (2 * math.pi * turn).cos(), (2 * math.pi * turn).sin()
    away = distance(cos * x + sin * y, cos * y - sin * x) * radius * (resolution / 2)  # in pixels
    cover = (0.5 - away).clamp(0, 1).unsqueeze(1)
    front, back = _colours(draw[:, 4:7])[:, :, None, None], 0.2 * draw[:, 7:, None, None]
    return ((back + cover * (front - back)) * 255).round().to(torch.uint8)


def _colours(draw: Tensor) -> Tensor:
    """(n, 3) -> bright RGB (n, 3) of any hue: at least 0.3 in grey, where the ground is at most 0.2."""
    hue, saturation, value = draw.unbind(1)
    phase = (hue.unsqueeze(1) * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6  # HSV: a trapezium a channel
    pure = ((phase - 3).abs() - 1).clamp(0, 1)
    return (0.9 + 0.1 * value.unsqueeze(1)) * (1 - (0.2 + 0.55 * saturation.unsqueeze(1)) * (1 - pure))
