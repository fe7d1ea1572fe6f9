"""Whether a generator repeats its training examples."""

from typing import Any

import torch

from gantool.game.distances import nearest
from gantool.game.images import to_float
from gantool.game.ranges import Count, Share
from gantool.game.types import Dataset, Trained


class Memorization:
    """Distances to the nearest training example, of samples and of as many test examples.

    `memorization`: the chance that a sample is nearer to the training set than a test example is: 0.5 for the data's
    own distribution, 1 for copies (the Mann-Whitney statistic of Meehan et al. 2020). Blur brings samples nearer too,
    so `copied` is the share of samples much nearer to one training example than to any other: within `ratio` times
    the distance to the second (Yoon et al. 2023). `nearest_train`, `nearest_train_test`: mean distances of samples and
    of test examples, Euclidean; images count from -1 to 1. Where the dataset mirrors its examples (`dataset.flip`), the
    nearer of an example and its mirror image counts.
    """

    columns = ("memorization", "copied", "nearest_train", "nearest_train_test")

    def __init__(self, samples: Count = 1000, ratio: Share = 0.3333):
        self.samples, self.ratio = samples, ratio
        self.sizes: dict[str, int] = {}
        self.mirrored = False

    def check(self, dataset: Dataset, objective: Any) -> None:
        """Any data will do that have a test split."""
        dataset.load("test")

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        from scipy.stats import mannwhitneyu

        train, test = dataset.load("train").pixels, dataset.load("test").pixels
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: self.samples]
        self.mirrored = bool(dataset.flip)
        self.sizes = {"reference_size": len(train), "held_out": len(chosen)}
        asked = torch.cat([trained.fakes(self.samples), to_float(test[chosen])])
        distance, _ = nearest(asked, train, 2, trained.device, trained.report, self.mirrored)
        mine, held_out = distance.split([self.samples, len(chosen)])
        nearer = mannwhitneyu(held_out[:, 0].numpy(), mine[:, 0].numpy()).statistic / (len(mine) * len(held_out))
        copied = (mine[:, 0] <= self.ratio * mine[:, 1]).double().mean()
        return {
            "memorization": float(nearer),
            "copied": float(copied),
            "nearest_train": float(mine[:, 0].mean()),
            "nearest_train_test": float(held_out[:, 0].mean()),
        }

    def facts(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "ratio": self.ratio,
            "reference": "train",
            "mirrored": self.mirrored,
            **self.sizes,
        }
