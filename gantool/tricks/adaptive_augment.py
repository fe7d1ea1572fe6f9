"""As much augmentation as keeps D from knowing the training set by heart."""

import math

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.ranges import Positive, Share
from gantool.game.types import Source


class AdaptiveAugment(Trick):
    """Each augmentation is applied with probability p, which follows r = E sign(D's logit on reals).

    (Karras et al. 2020b, section 3, equation 1.) At a batch whose r is above `target` D is too sure of its reals and
    p rises, else it falls; from 0 to 1 takes `speed` images. The augmentations are the paper's (appendix B), but images
    are read bilinearly, without its wavelet filters.
    """

    needs_critic = needs_realness = needs_threshold = needs_images = True
    p: Tensor

    def __init__(self, target: Share = 0.6, speed: Positive = 500_000):
        super().__init__()
        self.target, self.speed = target, speed
        self.register_buffer("p", torch.zeros(()))

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        self.batch_size = source.batch_size

    def watch(self, surplus: Tensor) -> None:
        too_sure = torch.sign(surplus.sign().mean() - self.target)
        self.p.add_(too_sure * self.batch_size / self.speed).clamp_(0, 1)

    def view(self, image: Tensor) -> Tensor:
        return recolored(resampled(image, *places(image, self.p)), self.p)


def _chosen(n: int, image: Tensor, p: Tensor) -> Tensor:
    """(n, N, 1, 1) n times for each image: 1 with probability p, else 0."""
    return (torch.rand(n, len(image), 1, 1, device=image.device) < p).float()


def places(image: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """(N, H, W) x and y, in pixels from the centre: where in its image each pixel of the result is read.

    Read from the last transformation to the first: mirror, quarter turn, whole shift, scale, rotation, stretch,
    rotation, shift. At p = 0, and for mirrors, quarter turns and whole shifts, the places are exactly pixels.
    """
    (n, _, height, width), device = image.shape, image.device
    chosen, uniform = _chosen(6, image, p), torch.rand(6, n, 1, 1, device=device)
    angle = math.pi * (2 * uniform[:2] - 1) * _chosen(2, image, 1 - (1 - p).sqrt())  # one or both with probability p
    normal = torch.randn(4, n, 1, 1, device=device)
    stretch, scale = torch.exp2(0.2 * normal[0] * chosen[0]), torch.exp2(0.2 * normal[1] * chosen[1])
    x = torch.arange(width, device=device) - (width - 1) / 2 - 0.125 * width * normal[2] * chosen[2]
    y = torch.arange(height, device=device)[:, None] - (height - 1) / 2 - 0.125 * height * normal[3] * chosen[2]
    x, y = _rotated(x, y, angle[0].cos(), angle[0].sin())
    x, y = _rotated(x / stretch, y * stretch, angle[1].cos(), angle[1].sin())
    whole = 0.25 * uniform[2:4] - 0.125
    x, y = x / scale - (width * whole[0] * chosen[3]).round(), y / scale - (height * whole[1] * chosen[3]).round()
    quarters = torch.floor(4 * uniform[4]) * chosen[4]
    x, y = _rotated(x, y, (quarters - 2).abs() - 1, 1 - (quarters - 1).abs())  # cosine and sine of 0 to 3 quarters
    return x * (1 - 2 * (uniform[5] < 0.5).float() * chosen[5]), y


def _rotated(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return x * cos - y * sin, x * sin + y * cos


def resampled(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, C, H, W) read bilinearly at places (N, H, W); beyond its border an image goes on as its reflection.

    By gathering, which can be differentiated as often as one likes; grid_sample only once.
    """
    n, channels, height, width = image.shape
    x, y = x + (width - 1) / 2, y + (height - 1) / 2
    left, top = x.floor(), y.floor()
    right_share, low_share = (x - left).unsqueeze(1), (y - top).unsqueeze(1)

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        place = _reflected(row, height) * width + _reflected(column, width)
        return image.flatten(2).gather(2, place.view(n, 1, -1).expand(-1, channels, -1)).view_as(image)

    upper = (1 - right_share) * pixels(top, left) + right_share * pixels(top, left + 1)
    lower = (1 - right_share) * pixels(top + 1, left) + right_share * pixels(top + 1, left + 1)
    return (1 - low_share) * upper + low_share * lower


def _reflected(place: Tensor, size: int) -> Tensor:
    """..., 1, 0 | 0, 1, ..., size - 1 | size - 1, size - 2, ...: a whole number within the image."""
    within = torch.remainder(place, 2 * size)
    return torch.minimum(within, 2 * size - 1 - within).long()


def recolored(image: Tensor, p: Tensor) -> Tensor:
    """Brightness, contrast, luma flip; of several channels saturation, of three hue. At p = 0 exactly the image."""
    n, channels, device = len(image), image.shape[1], image.device
    chosen, uniform = _chosen(5, image, p).unsqueeze(-1), torch.rand(2, n, 1, 1, 1, device=device)
    normal = torch.randn(3, n, 1, 1, 1, device=device) * chosen[:3]
    image = (image + 0.2 * normal[0]) * torch.exp2(0.5 * normal[1])
    image = image - 2 * _luma(image) * (uniform[0] < 0.5).float() * chosen[3]
    if channels == 3:
        image = hue_rotated(image, math.pi * (2 * uniform[1] - 1) * chosen[4])
    return image + (image - _luma(image)) * (torch.exp2(normal[2]) - 1) if channels > 1 else image


def _luma(image: Tensor) -> Tensor:
    """(N, 1, H, W)"""
    return image.mean(dim=1, keepdim=True)


def hue_rotated(image: Tensor, angle: Tensor) -> Tensor:
    """(N, 3, H, W) colours turned about the axis of greys, by Rodrigues' formula."""
    across = (image.roll(1, dims=1) - image.roll(-1, dims=1)) / math.sqrt(3)  # the axis' cross product with a colour
    return image + (angle.cos() - 1) * (image - _luma(image)) + angle.sin() * across
