"""How likely the test examples are by a Parzen window over samples."""

import math
from typing import Any

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.distances import Report, exact, pieces, squared_distances
from gantool.game.images import to_float
from gantool.game.ranges import Count, Positive
from gantool.game.types import Dataset, Trained


class Parzen:
    """`parzen`: mean log-likelihood of the test split in nats, by a Gaussian of width sigma around every sample.

    `parzen_se` is its standard error over the test examples, `parzen_sigma` the width, which is the one of a log grid
    that makes a validation split most likely (Breuleux et al. 2011; Goodfellow et al. 2014, section 5 and the released
    parzen_ll.py). Images count from 0 to 1.

    The validation split must be new to the generator, or copies of it would call for no width at all: what the dataset
    holds out of the training split (dataset.held_out, as in 2014) or else a part of the test split, then not tested.
    """

    columns = ("parzen", "parzen_se", "parzen_sigma")

    def __init__(
        self,
        samples: Count = 10_000,
        validation: Count = 1000,
        low: Positive = 0.001,
        high: Positive = 1.0,
        sigmas: Count = 28,
    ):
        self.samples, self.validation = samples, validation
        self.low, self.high, self.sigmas = low, high, sigmas
        self.sizes: dict[str, int] = {}

    def check(self, dataset: Dataset, objective: Any) -> None:
        if self.low > self.high:
            raise UsageError(f"metric.parzen.low={self.low} is above metric.parzen.high={self.high}: give less")
        if not all(map(len, self.splits(dataset))):
            raise UsageError("metric=[parzen] needs two test examples: hold out more, or drop it")

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        device = exact(trained.device)
        samples, validation, test = (
            unit(to_float(examples)).to(device) for examples in (trained.fakes(self.samples), *self.splits(dataset))
        )
        grid = torch.logspace(math.log10(self.low), math.log10(self.high), self.sigmas, dtype=torch.float64).tolist()
        sigma = grid[int(log_likelihood(samples, validation, grid, trained.report).mean(dim=1).argmax())]
        found = log_likelihood(samples, test, [sigma], trained.report)[0]
        self.sizes = {"validation": len(validation), "reference_size": len(test)}
        error = found.std(correction=0) / math.sqrt(len(found))
        return {"parzen": float(found.mean()), "parzen_se": float(error), "parzen_sigma": sigma}

    def splits(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Examples to choose the width by, and examples to test on, of the dataset's type."""
        test = dataset.load("test").pixels
        if getattr(dataset, "held_out", 0):
            return dataset.load("validation").pixels[: self.validation], test
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
        some = min(self.validation, math.ceil(len(test) / 6))
        return test[order[:some]], test[order[some:]]

    def facts(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "sigmas": [self.low, self.high, self.sigmas],
            "reference": "test",
            **self.sizes,
        }


def unit(images: Tensor) -> Tensor:
    """(N, *data shape) -> (N, F) float64: images from 0 to 1, points in their own scale."""
    flat = images.flatten(1).double()
    return (flat + 1) / 2 if images.dim() == 4 else flat


def log_likelihood(samples: Tensor, examples: Tensor, sigmas: list[float], report: Report | None = None) -> Tensor:
    """(N, F), (M, F) float64 -> (widths, M): log of the mean over samples of N(example; sample, sigma^2), in nats.

    All widths share the distances, and the largest term, that of the nearest sample, is taken out of each sum.
    """
    center = samples.mean(dim=0)
    samples, found = samples - center, []
    for piece in pieces(examples, len(samples)):
        squares = squared_distances(piece - center, samples)
        least = squares.amin(dim=1, keepdim=True)
        squares -= least
        for_each = [
            (squares * (-0.5 / sigma**2)).exp_().mean(dim=1).log() - 0.5 * least[:, 0] / sigma**2 for sigma in sigmas
        ]
        found.append(torch.stack(for_each))
        if report:
            report("log-likelihoods", sum(each.shape[1] for each in found), len(examples))
    volume = samples.shape[1] * torch.tensor(sigmas, dtype=torch.float64).mul(math.sqrt(2 * math.pi)).log()
    return torch.cat(found, dim=1) - volume[:, None].to(samples.device)
