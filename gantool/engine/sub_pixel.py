"""Layers between images and maps, and the making of images by sub-pixel convolution (Shi et al. 2016, section 3).

A convolution makes a map out of an image, a transposed one an image out of a map, by a weight of the shape (channels of
the map, channels of the image, height, width). All are channels last in memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

ATEN = torch.ops.aten
IMAGE, WEIGHT, MAP = range(3)  # of a layer, each is made of the two others, forward or on the way back


class Sizes(NamedTuple):
    """Each (height, width)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


def sizes_of(weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Sizes:
    """A list of one number is of both directions."""
    both = [tuple(each) * (2 // len(each)) for each in (stride, padding)]
    return Sizes(tuple(weight.shape[2:]), *both)


def is_plain(
    given: Tensor, weight: Tensor, sizes: Sizes, dilation: Sequence[int], output_padding: Sequence[int], groups: int
) -> bool:
    """Of images, all channels together and without gaps, by a kernel that is some whole strides wide."""
    if given.dim() != 4 or weight.dim() != 4 or not given.numel() or groups != 1 or any(output_padding):
        return False
    widths = zip(sizes.kernel, sizes.stride, strict=True)
    return all(n == 1 for n in dilation) and all(1 < s <= k and k % s == 0 for k, s in widths)


def sub_pixel(
    places: Tensor, weight: Tensor, sizes: Sizes, lengths: Sequence[int] | None = None, bias: Tensor | None = None
) -> Tensor:
    """A transposed convolution, (N, O, h, w) -> (N, C, H, W), by one of stride one to blocks of pixels.

    H and W are `lengths`, or what torch would take. Pixels that no place of the map reaches are 0, without the bias.
    """
    (n, _, h, w), ((kh, kw), (sh, sw), _) = places.shape, sizes
    a, b = kh // sh, kw // sw
    kernel = weight.reshape(*weight.shape[:2], a, sh, b, sw).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    biases = None if bias is None else bias.repeat(sh * sw)
    deep = ATEN.convolution(places, kernel, biases, [1, 1], [0, 0], [1, 1], True, [0, 0], 1)
    blocks = deep.permute(0, 2, 3, 1).reshape(n, h + a - 1, w + b - 1, sh, sw, -1)
    return image_of(blocks, sizes, lengths)


def image_of(blocks: Tensor, sizes: Sizes, lengths: Sequence[int] | None) -> Tensor:
    """Blocks (N, rows, columns, height, width, C) that begin before the image by the padding -> (N, C, H, W)."""
    (n, rows, columns, sh, sw, _), (ph, pw) = blocks.shape, sizes.padding
    whole = blocks.transpose(2, 3).reshape(n, rows * sh, columns * sw, -1)
    height, width = lengths or (whole.shape[1] - 2 * ph, whole.shape[2] - 2 * pw)
    missing = (0, 0, 0, max(0, pw + width - whole.shape[2]), 0, max(0, ph + height - whole.shape[1]))
    return pad(whole, missing)[:, ph : ph + height, pw : pw + width].permute(0, 3, 1, 2)
