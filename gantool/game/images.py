"""Pixels, as datasets, sources and samplers share them. Shapes: M images, C channels, H W height and width."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import UsageError
from gantool.game.promises import callable_as, kind_of
from gantool.game.types import Dataset, Images

SPLITS = ("train", "test")
GREY = (0.299, 0.587, 0.114)  # luma of R, G, B: ITU-R BT.601
CHUNK = 2**24  # floats converted at a time: 64 MiB
WHOLE = 2**26  # bytes of a tensor up to which a fingerprint looks at all of them
SEEN, ROWS = 2**22, 256  # bytes, and examples at least, that it looks at otherwise: they may lie on a cold disk


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}: choose {' or '.join(SPLITS)}")


def split_generator(seed: int, split: str) -> torch.Generator:
    """The random numbers of a synthetic dataset: others for each split, and none of torch's own are used up."""
    check_split(split)
    return torch.Generator().manual_seed((2 * seed + SPLITS.index(split)) % 2**63)


def resize(pixels: Tensor, resolution: int) -> Tensor:
    """uint8 (M, C, H, W) -> (M, C, resolution, resolution): the central square, by an antialiased bicubic filter.

    The filter widens as the image shrinks, as in PIL; what frameworks do by default aliases, and spoils data and
    metrics (Parmar et al. 2022).
    """
    height, width = pixels.shape[2:]
    if height == width == resolution:
        return pixels
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2

    def shrink(image: Tensor) -> Tensor:
        square = image[:, :, top : top + side, left : left + side]
        return F.interpolate(square, (resolution, resolution), mode="bicubic", antialias=True)

    return _convert(shrink, pixels, (pixels.shape[1], resolution, resolution))


def to_channels(pixels: Tensor, channels: int) -> Tensor:
    """uint8 (M, C, H, W) -> (M, channels, H, W), both 1 or 3: grey is repeated, colour is weighted by ITU-R BT.601."""
    have, *size = pixels.shape[1:]
    if have == channels:
        return pixels
    if (have, channels) == (1, 3):
        return pixels.expand(-1, 3, -1, -1).contiguous()
    if (have, channels) == (3, 1):
        weights = torch.tensor(GREY).view(3, 1, 1)
        return _convert(lambda image: (image * weights).sum(dim=1, keepdim=True), pixels, (1, *size))
    raise ValueError(f"images have 1 or 3 channels: cannot turn {have} into {channels}")


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]; points, which are floats already, stay as they are. Part of a training step."""
    if pixels.dtype != torch.uint8:
        return pixels
    return pixels.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8, rounded to the nearest; what lies outside is clamped."""
    return _bytes((images.to(torch.float32) + 1) * 127.5)


def to_pixels(examples: Tensor) -> Tensor:
    """As a dataset holds them, the inverse of `to_float`: images as a PNG file would keep them; points as they are."""
    return to_uint8(examples) if examples.dim() == 4 else examples


def promised(dataset: Any) -> Dataset:
    """The dataset, which may be the user's own: UsageError where it lacks what must be known before it is loaded."""
    for part in ("shape", "names", "flip"):
        if not hasattr(dataset, part):
            name = type(dataset).__name__
            raise UsageError(f"dataset: {name} has no `{part}` before it is loaded (gantool/game/types.py)")
    callable_as(dataset, "dataset", "split", method="load")
    _check_shape(dataset.shape)
    names = dataset.names
    texts = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    if not texts or len(set(names)) < len(names):
        raise UsageError(f"dataset.names must be a tuple of texts, another one for each class, not {names!r}")
    return dataset


def _check_shape(shape: Any) -> None:
    whole = isinstance(shape, tuple | list) and all(isinstance(each, int) and each > 0 for each in shape)
    if not whole or len(shape) not in (1, 3):
        raise UsageError(f"dataset.shape must be (C, H, W) of images, or (P,) of points, not {shape!r}")
    if len(shape) == 3 and shape[2] in (1, 3) and shape[0] > 4:
        raise UsageError(f"dataset.shape is (C, H, W), and {shape!r} looks like (H, W, C): give the channels first")


def loaded(dataset: Dataset, split: str = "train") -> Images:
    """A split of a dataset, which may be the user's own: UsageError where it is not what `Images` promises."""
    images, said = dataset.load(split), f"dataset.load({split!r})"
    if not isinstance(images, Images):
        raise UsageError(f"{said} gives {kind_of(images)}: return gantool.game.types.Images(pixels, labels, names)")
    pixels, labels = images.pixels, images.labels
    if not isinstance(pixels, Tensor) or (pixels.dim(), pixels.dtype) not in ((4, torch.uint8), (2, torch.float32)):
        raise UsageError(
            f"{said} gives {kind_of(pixels)} as pixels: images must be uint8 (M, C, H, W), and points float32 (M, P)"
        )
    if not len(pixels):
        raise UsageError(f"{said} gives no example: a dataset without that split must raise an error that says so")
    if images.shape != tuple(dataset.shape):
        raise UsageError(
            f"{said} gives examples of shape {images.shape}, and dataset.shape says {tuple(dataset.shape)}: mend either"
        )
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (len(pixels),):
        raise UsageError(
            f"{said} gives {kind_of(labels)} as labels: they must be int64 ({len(pixels)},), one an example, "
            "and all -1 where there are no classes"
        )
    if len(labels) and (labels.min() < -1 or labels.max() >= images.num_classes):
        raise UsageError(
            f"{said} gives labels from {labels.min()} to {labels.max()}: they must be below the number of names, "
            f"{images.num_classes}, and -1 where an example has none"
        )
    if tuple(images.names) != tuple(dataset.names):
        raise UsageError(f"{said} names {len(images.names)} classes, and dataset.names others: let them be the same")
    return images


def hide_labels(images: Images, keep: int | None, seed: int, key: str = "labels") -> Images:
    """All but `keep` examples lose their label (-1); of each class as many keep it, chosen by the seed. None = all.

    Raises UsageError where there are no classes, or not enough examples; `key` is the setting that it names.
    """
    if keep is None:
        return images
    if not images.names:
        raise UsageError(f"{key}={keep} needs a dataset with classes, and this one has none: leave it out")
    each, rest = divmod(keep, images.num_classes)
    if rest:
        raise UsageError(f"{key}={keep} cannot be shared equally by {images.num_classes} classes: give a multiple")
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(seed))
    labels = torch.full_like(images.labels, -1)
    for index, name in enumerate(images.names):
        mine = order[images.labels[order] == index]
        if len(mine) < each:
            raise UsageError(f"{key}={keep} asks for {each} examples of class {name}, which has {len(mine)}: give less")
        labels[mine[:each]] = index
    return images._replace(labels=labels)


def fingerprint(images: Images) -> str:
    """16 hex digits that tell one split from another, by shape, type, values and labels.

    Of a large set evenly spaced examples are looked at: it takes a fraction of a second at any size.
    """
    digest = hashlib.blake2b(digest_size=8)
    for tensor in (images.pixels, images.labels):
        seen = max(ROWS, SEEN * len(tensor) // max(tensor.nbytes, 1)) if tensor.nbytes > WHOLE else len(tensor)
        stride = max(1, math.ceil(len(tensor) / max(seen, 1)))
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor[::stride].cpu().contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def _convert(change: Callable[[Tensor], Tensor], pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`change` works on floats in [0, 255]; the set passes through it in pieces, so that never all of it is floats."""
    out = torch.empty(len(pixels), *shape, dtype=torch.uint8)
    rows = max(1, CHUNK // max(math.prod(pixels.shape[1:]), math.prod(shape)))
    for start in range(0, len(pixels), rows):
        out[start : start + rows] = _bytes(change(pixels[start : start + rows].to(torch.float32)))
    return out


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
