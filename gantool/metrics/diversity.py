"""How alike samples are, as people see images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import UsageError
from gantool.game.images import to_float
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first (Wang et al. 2003, section 3.2)
WINDOW, SPREAD = 11, 1.5  # pixels: side of the Gaussian window and its standard deviation (Wang et al. 2004)
STABLE = (0.01**2, 0.03**2)  # of luminance and contrast, for pixels from 0 to 1
AT_ONCE = 100  # pairs


class Diversity:
    """`ms_ssim`: mean similarity of two samples, 1 for equal ones; `ms_ssim_data`: of two training examples.

    Of the same class where G is told the class (Odena et al. 2017, section 4.2), of any where it is not. Where samples
    are more alike than data, the generator has lost some of its variety.
    """

    columns = ("ms_ssim", "ms_ssim_data")

    def __init__(self, conditional: bool, pairs: Count = 1000):
        self.conditional, self.pairs, self.scales = conditional, pairs, 0

    def check(self, dataset: Dataset, objective: Any) -> None:
        if len(dataset.shape) != 3:
            raise UsageError("metric=[diversity] compares images, and this dataset holds points: drop it")

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        data, known = dataset.load("train"), list[int | None]([None])
        if self.conditional:  # a class may have no example to train on
            known = [label for label in range(len(dataset.names)) if bool((data.labels == label).any())]
        each, mine, theirs = max(1, self.pairs // len(known)), list[Tensor](), list[Tensor]()
        generator = torch.Generator().manual_seed(0)
        for number, label in enumerate(known, 1):
            drawn = trained.fakes(2 * each, label)
            mine.append(alike(drawn[:each], drawn[each:], trained.device))
            pool = data.pixels if label is None else data.pixels[data.labels == label]
            first, second = (to_float(pool[index]) for index in different(len(pool), each, generator))
            theirs.append(alike(first, second, trained.device))
            trained.report("pairs", number * each, len(known) * each)
        self.scales = scales(*dataset.shape[1:])
        return {"ms_ssim": float(torch.stack(mine).mean()), "ms_ssim_data": float(torch.stack(theirs).mean())}

    def facts(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "scales": self.scales, "reference": "train"}


def different(size: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(pairs,), (pairs,) random indices below `size`, of two things that are not the same one, if there are two."""
    first = torch.randint(size, (pairs,), generator=generator)
    return first, (first + torch.randint(1, max(2, size), (pairs,), generator=generator)) % size


def alike(first: Tensor, second: Tensor, device: torch.device) -> Tensor:
    """Two sets of images (N, C, H, W) in [-1, 1] -> scalar, the mean MS-SSIM of a pair."""
    pairs = zip(first.split(AT_ONCE), second.split(AT_ONCE), strict=True)
    return torch.cat([ms_ssim(*((each.to(device) + 1) / 2 for each in pair)).cpu() for pair in pairs]).mean()


def scales(height: int, width: int) -> int:
    """Five where the coarsest still holds a window, from 176 pixels on; fewer for smaller images, one below 22."""
    return max(1, min(len(WEIGHTS), (min(height, width) // WINDOW).bit_length()))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """(N, C, H, W) from 0 to 1 -> (N,) structural similarity at several scales (Wang et al. 2003, equation 7).

    Each scale halves the one before. Where there are fewer than five, the exponents of those that there are sum to 1.
    """
    amount, terms = scales(*x.shape[2:]), list[Tensor]()
    for scale in range(amount):
        similarity, contrast = ssim(x, y)
        terms.append(contrast)
        if scale < amount - 1:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    terms[-1] = similarity
    exponents = x.new_tensor(WEIGHTS[:amount]) / sum(WEIGHTS[:amount])
    return (torch.stack(terms).relu() ** exponents[:, None, None]).prod(dim=0).mean(dim=1)


def ssim(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) from 0 to 1 -> (N, C) structural similarity, and the same without its factor of luminance.

    Means over all places of an 11 x 11 Gaussian window (Wang et al. 2004, equation 13); of a smaller image's side, odd.
    """
    side = min(WINDOW, *x.shape[2:])
    side -= 1 - side % 2
    places = torch.arange(side, device=x.device) - (side - 1) / 2
    line = torch.exp(-places.square() / (2 * (SPREAD * side / WINDOW) ** 2))
    window = torch.outer(line, line).to(x.dtype)[None, None] / line.sum() ** 2

    def local(image: Tensor) -> Tensor:
        return F.conv2d(image.flatten(0, 1)[:, None], window).view(*image.shape[:2], -1)

    mean_x, mean_y = local(x), local(y)
    variances = local(x * x) - mean_x**2 + local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + STABLE[0]) / (mean_x**2 + mean_y**2 + STABLE[0])
    contrast = (2 * covariance + STABLE[1]) / (variances + STABLE[1])
    return (luminance * contrast).mean(dim=2), contrast.mean(dim=2)
