"""Augmentations that G's gradient passes through."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.game.hooks import Trick
from gantool.game.ranges import Share


class DiffAugment(Trick):
    """All that D sees, real and fake, in both turns, is augmented by differentiable operations (Zhao et al. 2020).

    Each image by itself: brightness + U(-0.5, 0.5), saturation * U(0, 2), contrast * U(0.5, 1.5), of values in [-1, 1];
    shifted by up to `translation` of its sides, zeros (grey) coming in; a square of `cutout` of its sides set to 0.
    """

    needs_images = True

    def __init__(self, color: bool = True, translation: Share = 0.125, cutout: Share = 0.5):
        super().__init__()
        self.color, self.translation, self.cutout = color, translation, cutout

    def view(self, image: Tensor) -> Tensor:
        if self.color:
            image = recolored(image)
        if self.translation:
            image = shifted(image, self.translation)
        return cut_out(image, self.cutout) if self.cutout else image


def _uniform(image: Tensor, low: float, high: float) -> Tensor:
    """(N, 1, 1, 1)"""
    return low + (high - low) * torch.rand(len(image), 1, 1, 1, device=image.device)


def recolored(image: Tensor) -> Tensor:
    """Brightness, saturation (of colour images), contrast."""
    image = image + _uniform(image, -0.5, 0.5)
    if image.shape[1] > 1:
        grey = image.mean(dim=1, keepdim=True)
        image = grey + (image - grey) * _uniform(image, 0.0, 2.0)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (image - mean) * _uniform(image, 0.5, 1.5)


def shifted(image: Tensor, share: float) -> Tensor:
    """By whole pixels, each image by its own number of rows and columns."""
    n, channels, height, width = image.shape
    reach = [int(side * share + 0.5) for side in (height, width)]
    down, right = (torch.randint(-by, by + 1, (n, 1), device=image.device) for by in reach)
    rows = (torch.arange(height, device=image.device) - down + 1).clamp(0, height + 1)  # (N, H) in the padded image
    columns = (torch.arange(width, device=image.device) - right + 1).clamp(0, width + 1)
    padded = F.pad(image, (1, 1, 1, 1)).flatten(2)  # (N, C, (H + 2) (W + 2))
    place = rows[:, :, None] * (width + 2) + columns[:, None, :]  # (N, H, W)
    return padded.gather(2, place.view(n, 1, -1).expand(-1, channels, -1)).view_as(image)


def cut_out(image: Tensor, share: float) -> Tensor:
    """A square whose centre may lie anywhere in the image, so that it may hang over its border."""
    n, _, height, width = image.shape
    inside = []
    for side in (height, width):
        size = int(side * share + 0.5)
        start = torch.randint(side + (1 - size % 2), (n, 1), device=image.device) - size // 2
        place = torch.arange(side, device=image.device)
        inside.append((place >= start) & (place < start + size))
    return image * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
