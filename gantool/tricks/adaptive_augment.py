"""As much augmentation as keeps D from knowing the training set by heart."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.game.hooks import Trick
from gantool.game.ranges import Positive, Share
from gantool.game.types import Source


class AdaptiveAugment(Trick):
    """Each augmentation is applied with probability p, which follows r = E sign(a(x)) on reals (Karras et al. 2020b).

    Where r is above `target`, D is sure of its reals and p rises, else it falls; from 0 to 1 takes `speed` images
    (section 3.1). Pixel operations (flip, quarter turns, whole shifts), geometry (scale, rotation) and, of images with
    colour, brightness, contrast and luma flip, in that order (appendix B).
    """

    needs_critic = needs_realness = needs_images = True
    p: Tensor

    def __init__(self, target: Share = 0.6, speed: Positive = 500_000, flip: bool = False):
        super().__init__()
        self.target, self.speed, self.flip = target, speed, flip
        self.register_buffer("p", torch.zeros(()))

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        self.batch_size = source.batch_size

    def watch(self, realness: Tensor) -> None:
        surer = torch.sign(realness.sign().mean() - self.target)
        self.p.add_(surer * self.batch_size / self.speed).clamp_(0, 1)

    def view(self, image: Tensor) -> Tensor:
        image = warped(image, self._placements(image))
        return self._recolored(image)

    def _chosen(self, image: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
        """(N, ...) 1 with probability p, else 0."""
        return (torch.rand(len(image), *shape, device=image.device) < self.p).float()

    def _placements(self, image: Tensor) -> Tensor:
        """(N, 2, 3) where in the image each place of the result comes from, in coordinates from -1 to 1."""
        n, device = len(image), image.device
        uniform = torch.rand(6, n, device=device)
        mirrored = (
            1 - 2 * (uniform[0] < 0.5).float() * self._chosen(image) if self.flip else torch.ones(n, device=device)
        )
        turn = torch.floor(4 * uniform[1]) * self._chosen(image) * (math.pi / 2)
        turn = turn + (2 * uniform[2] - 1) * math.pi * self._chosen(image)
        scale = torch.exp2(0.2 * torch.randn(n, device=device) * self._chosen(image))
        shift = 0.25 * (2 * uniform[3:5] - 1) * self._chosen(image)  # (2, N): an eighth of the side
        cos, sin = turn.cos() / scale, turn.sin() / scale
        return torch.stack([
            torch.stack([mirrored * cos, -sin, shift[0]], dim=1),
            torch.stack([mirrored * sin, cos, shift[1]], dim=1),
        ], dim=1)  # fmt: skip

    def _recolored(self, image: Tensor) -> Tensor:
        shape = (1, 1, 1)
        normal = torch.randn(2, len(image), *shape, device=image.device)
        image = image + 0.2 * normal[0] * self._chosen(image, shape)
        return image * torch.exp2(0.5 * normal[1] * self._chosen(image, shape))


def warped(image: Tensor, placement: Tensor) -> Tensor:
    """(N, C, H, W), (N, 2, 3) -> (N, C, H, W), bilinear; beyond its border an image goes on as its reflection.

    By gathering, which can be differentiated as often as one likes; grid_sample only once.
    """
    n, channels, height, width = image.shape
    where = F.affine_grid(placement, list(image.shape), align_corners=False)  # (N, H, W, 2) x and y
    x, y = ((where[..., 0] + 1) * width - 1) / 2, ((where[..., 1] + 1) * height - 1) / 2
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
