"""Convolutions on a GPU, written out as what is faster there than cuDNN's kernels for them.

cuDNN computes in blocks of eight or more channels, most of which are empty where an image has three: such an image
becomes a matrix with a row for each place of the map, the patch that it sees (Chellapilla et al. 2006, section 3). And
it makes images of few channels out of a map in narrow tiles: a pixel's neighbours join its channels, and the kernel has
a stride of one (sub-pixel convolution, Shi et al. 2016, section 3).

Only for compiled rounds, in which the steps of this are joined: as they stand each passes over memory by itself.
A weight has the shape (channels of the map, channels of the image, height, width); a transposed convolution makes the
image out of the map.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from gantool.engine.sub_pixel import ATEN, Sizes, image_of, is_plain, sizes_of, sub_pixel

DEVICE = "cuda"
TILE = 128  # channels that a product on a GPU computes at once


class Convolutions:
    """Of one trace."""

    def __init__(self) -> None:
        # image -> how its patches were cut out on the way forward, and they: the way back sees the image as it was then
        self.patches = WeakTensorKeyDictionary()

    def forward(
        self, given: Tensor, weight: Tensor, bias: Tensor | None,
        stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
        transposed: bool, output_padding: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """In the place of aten.convolution; NotImplemented where its own kernels are as fast."""
        sizes = sizes_of(weight, stride, padding)
        if weight.device.type != DEVICE or not is_plain(given, weight, sizes, dilation, output_padding, groups):
            return NotImplemented
        if not (_few_channels(weight) or transposed and _narrow(weight)):
            return NotImplemented
        if transposed:
            result = _image(given, weight, sizes)
        else:
            patches = _patches(given, sizes)
            self.patches[given] = sizes, patches
            result = _map(patches, given, weight, sizes)
        return result if bias is None else result + bias.view(1, -1, 1, 1)

    def backward(
        self, grad: Tensor, given: Tensor, weight: Tensor, bias_sizes: Sequence[int] | None,
        stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
        transposed: bool, output_padding: Sequence[int], groups: int, wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """In the place of aten.convolution_backward: gradients of what was given, weight and bias, where `wanted`."""
        sizes, few = sizes_of(weight, stride, padding), _few_channels(weight)
        narrow = not transposed and _narrow(weight)
        ours = [wanted[0] and (few or narrow), wanted[1] and few, wanted[2] and few]
        plain = is_plain(given, weight, sizes, dilation, output_padding, groups)
        if weight.device.type != DEVICE or not plain or not any(ours):
            return NotImplemented
        found: list[Tensor | None] = [None, None, None]
        theirs = [want and not our for want, our in zip(wanted, ours, strict=True)]
        if any(theirs):
            how = (stride, padding, dilation, transposed, output_padding, groups)
            found = list(ATEN.convolution_backward(grad, given, weight, bias_sizes, *how, theirs))
        image, places = (grad, given) if transposed else (given, grad)
        if ours[0] and not transposed:
            found[0] = _image(grad, weight, sizes, given.shape[2:])
        if ours[1] or (ours[0] and transposed):
            patches = self._seen(image, sizes)
            if ours[0] and transposed:
                found[0] = _map(patches, image, weight, sizes)
            if ours[1]:
                found[1] = (_rows(places).t() @ patches).view(len(weight), *sizes.kernel, -1).permute(0, 3, 1, 2)
        if ours[2]:
            found[2] = grad.sum((0, 2, 3))
        return tuple(found)

    def _seen(self, image: Tensor, sizes: Sizes) -> Tensor:
        cut, patches = self.patches.get(image, (None, None))
        return patches if cut == sizes else _patches(image, sizes)


def _few_channels(weight: Tensor) -> bool:
    """Has a patch of the image no more numbers than a place of the map has channels?"""
    return weight.shape[1:].numel() <= len(weight)


def _narrow(weight: Tensor) -> bool:
    """Do the image's channels leave a tile partly empty?"""
    return weight.shape[1] < TILE


def _map(patches: Tensor, image: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
    lengths = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(image.shape[2:], *sizes, strict=True)]
    return (patches @ _matrix(weight).t()).view(len(image), *lengths, -1).permute(0, 3, 1, 2)


def _image(places: Tensor, weight: Tensor, sizes: Sizes, lengths: Sequence[int] | None = None) -> Tensor:
    """Each place adds its patch to what it sees: blocks of a stride's pixels, each of which lies in a x b patches."""
    if not _few_channels(weight):
        return sub_pixel(places, weight, sizes, lengths)
    (n, _, h, w), ((kh, kw), (sh, sw), _) = places.shape, sizes
    a, b = kh // sh, kw // sw
    patches = (_rows(places) @ _matrix(weight)).view(n, h, w, a, sh, b, sw, -1)
    parts = [
        pad(patches[:, :, :, i, :, j], (0, 0, 0, 0, 0, 0, j, b - 1 - j, i, a - 1 - i))
        for i in range(a)
        for j in range(b)
    ]
    return image_of(sum(parts[1:], parts[0]), sizes, lengths)


def _patches(image: Tensor, sizes: Sizes) -> Tensor:
    """(N, C, H, W) -> (places, numbers of a patch)."""
    (kh, kw), (sh, sw), (ph, pw) = sizes
    padded = pad(image.permute(0, 2, 3, 1), (0, 0, pw, pw, ph, ph))
    seen = padded.unfold(1, kh, sh).unfold(2, kw, sw).permute(0, 1, 2, 4, 5, 3)
    return seen.reshape(-1, kh * kw * image.shape[1])


def _rows(places: Tensor) -> Tensor:
    """(N, C, h, w) -> (places, C)."""
    return places.permute(0, 2, 3, 1).reshape(-1, places.shape[1])


def _matrix(weight: Tensor) -> Tensor:
    """(C of the map, numbers of a patch), in the order of its columns."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
