"""Convolutions on a CPU with 9 multiplications where a plain one has 16.

A layer of 4 x 4 weights and stride 2, those of DCGAN, sees an image as blocks of 2 x 2 pixels and each of them by
2 x 2 blocks of its weights. Two neighbouring places of its map take three products of sums, instead of four, in each
direction: minimal filtering, F(2 x 2, 2 x 2) (Winograd 1980; Lavin and Gray 2016, section 4.1). Its gradients are the
same products the other way round. Sums in bfloat16 are rounded before they are multiplied, so that a result is some
times as far from the exact one as that of a plain convolution. What is kept for the way back is nearly four times as
large.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gantool.engine.sub_pixel import IMAGE, MAP, WEIGHT, Sizes

WIDE = 128  # channels of both: fewer are no faster, as the sums are more work than the products
MANY = 64  # tiles of a batch, for the same reason


class Winograd(NamedTuple):
    """Makes one of an image, a weight and a map out of the sums of the two others. A batch is so many images."""

    dtype: torch.dtype
    number: int
    height: int
    width: int

    @staticmethod
    def suits(sizes: Sizes, images: Sequence[int], weight: torch.Size) -> bool:
        """`images`: (N, height, width)."""
        number, height, width = images
        whole = sizes == ((4, 4), (2, 2), (1, 1)) and height % 4 == width % 4 == 0
        return whole and min(weight[:2]) >= WIDE and number * height * width >= 16 * MANY

    def prepared(self, kind: int, operand: Tensor) -> Tensor:
        operand = operand.to(self.dtype, memory_format=torch.channels_last)
        return {IMAGE: _sums_of_image, WEIGHT: _sums_of_weight, MAP: _sums_of_map}[kind](operand)

    def made(self, kind: int, one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
        tiles = self.number, self.height // 4, self.width // 4
        if kind == WEIGHT:
            return _weight(torch.bmm(one.mT, other))
        made = _map(torch.bmm(one, other.mT), *tiles) if kind == MAP else _image(torch.bmm(other, one), *tiles)
        return made if bias is None else made.add_(bias.view(1, -1, 1, 1))


def _sums_of_image(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (9, tiles, 4C): a tile makes 2 x 2 places of the map."""
    n, c, h, w = len(image), image.shape[1], image.shape[2] // 4, image.shape[3] // 4
    pixels = image.permute(0, 2, 3, 1).view(n, h, 4, w, 4, c).permute(1, 2, 0, 3, 4, 5)
    sums, outer = image.new_empty(3, 3, n, h, w, 2, 2, c), image.new_empty(3, n, h, 2, w, 2, c)
    _spread(pixels[..., 1:3, :], sums[:, 1].permute(0, 2, 4, 1, 3, 5, 6))
    _spread(pixels[..., ::3, :], outer.permute(0, 2, 3, 1, 4, 5, 6))
    _spread_outer(outer.permute(4, 5, 0, 1, 2, 3, 6), sums.permute(1, 4, 6, 0, 2, 3, 5, 7))
    return sums.view(9, -1, 4 * c)


def _spread(pixels: Tensor, sums: Tensor) -> None:
    """(T, 4, ...) -> (3, T, 2, ...): a tile sees its pixels, those before and after, and nothing beyond the edges.

    Of three pairs of pixels, the first begins with the last of the tile before: first - second, second, third - second.
    """
    sums[1].copy_(pixels[:, 1:3])
    _spread_outer(pixels[:, ::3], sums)


def _spread_outer(outer: Tensor, sums: Tensor) -> None:
    """The first and the last pixel of each tile, (T, 2, ...), where what the others make is in its place already."""
    first, second, third = sums
    torch.sub(outer[:-1, 1], second[1:, 0], out=first[1:, 0])
    torch.neg(second[0, 0], out=first[0, 0])
    torch.sub(outer[:, 0], second[:, 1], out=first[:, 1])
    torch.sub(outer[:, 1], second[:, 0], out=third[:, 0])
    torch.sub(outer[1:, 0], second[:-1, 1], out=third[:-1, 1])
    torch.neg(second[-1, 1], out=third[-1, 1])


def _image(nine: Tensor, n: int, h: int, w: int) -> Tensor:
    """(9, n * h * w tiles, 4C) -> (N, C, H, W), the transpose of `_sums_of_image`."""
    c = nine.shape[2] // 4
    rows, image = nine.new_empty(3, n, h, 2, 4 * w, c), nine.new_empty(n, 4 * h, 4 * w, c)
    sums = nine.view(3, 3, n, h, w, 2, 2, c).permute(1, 4, 6, 0, 2, 3, 5, 7)
    _gather(sums, rows.view(3, n, h, 2, w, 4, c).permute(4, 5, 0, 1, 2, 3, 6))
    _gather(rows.permute(0, 2, 3, 1, 4, 5), image.view(n, h, 4, 4 * w, c).permute(1, 2, 0, 3, 4))
    return image.permute(0, 3, 1, 2)


def _gather(sums: Tensor, pixels: Tensor) -> None:
    """(3, T, 2, ...) -> (T, 4, ...), the transpose of `_spread`."""
    first, second, third = sums
    torch.add(first[1:, 1], third[:-1, 1], out=pixels[1:, 0])
    pixels[0, 0].copy_(first[0, 1])
    torch.sub(second, first, out=pixels[:, 1:3]).sub_(third)
    torch.add(first[1:, 0], third[:-1, 0], out=pixels[:-1, 3])
    pixels[-1, 3].copy_(third[-1, 0])


def _sums_of_weight(weight: Tensor) -> Tensor:
    """(O, C, 4, 4) -> (9, O, 4C)."""
    o, c = weight.shape[:2]
    return _thirds(weight.permute(0, 2, 3, 1).view(o, 2, 2, 2, 2, c).permute(1, 3, 0, 2, 4, 5)).view(9, o, 4 * c)


def _weight(nine: Tensor) -> Tensor:
    """(9, O, 4C) -> (O, C, 4, 4), the transpose of `_sums_of_weight`."""
    o, c = nine.shape[1], nine.shape[2] // 4
    weight = nine.new_empty(o, 4, 4, c)
    _pairs(nine.view(3, 3, o, 2, 2, c), weight.view(o, 2, 2, 2, 2, c).permute(1, 3, 0, 2, 4, 5))
    return weight.permute(0, 3, 1, 2)


def _sums_of_map(places: Tensor) -> Tensor:
    """(N, O, h, w) -> (9, tiles, O)."""
    n, o, h, w = places.shape
    tiles = places.permute(0, 2, 3, 1).view(n, h // 2, 2, w // 2, 2, o)
    return _thirds(tiles.permute(2, 4, 0, 1, 3, 5)).view(9, -1, o)


def _map(nine: Tensor, n: int, h: int, w: int) -> Tensor:
    """(9, n * h * w tiles, O) -> (N, O, 2h, 2w), the transpose of `_sums_of_map`."""
    o = nine.shape[2]
    places = nine.new_empty(n, 2 * h, 2 * w, o)
    _pairs(nine.view(3, 3, n, h, w, o), places.view(n, h, 2, w, 2, o).permute(2, 4, 0, 1, 3, 5))
    return places.permute(0, 3, 1, 2)


def _thirds(two: Tensor) -> Tensor:
    """(2, 2, ...) -> (3, 3, ...): first, first + second, second, in both directions."""
    sums = two.new_empty(3, 3, *two.shape[2:])
    sums[::2, ::2].copy_(two)
    torch.add(two[:, 0], two[:, 1], out=sums[::2, 1])
    torch.add(two[0], two[1], out=sums[1, ::2])
    torch.add(sums[1, 0], sums[1, 2], out=sums[1, 1])
    return sums


def _pairs(three: Tensor, two: Tensor) -> None:
    """(3, 3, ...) -> (2, 2, ...), the transpose of `_thirds`."""
    rows = three[:-1] + three[1:]
    torch.add(rows[:, :-1], rows[:, 1:], out=two)
