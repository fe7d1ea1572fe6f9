"""Which classes a generator draws, as a judge reads them that was trained on the data."""

import math
from typing import Any

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.features.classifier import Classifier, trusted
from gantool.game.images import to_float, to_pixels
from gantool.game.ranges import Count, Share
from gantool.game.types import Dataset, Device, Trained


class Judged:
    """A metric that needs a judge of classes: the dataset's classifier, right on a share of `floor` or more."""

    def __init__(self, name: str, samples: Count, floor: Share, device: Device):
        self.name, self.samples, self.floor, self.device = name, samples, floor, device
        self.judge: Classifier | None = None

    def check(self, dataset: Dataset, objective: Any) -> None:
        self.judge = trusted(dataset, f"metric=[{self.name}]", f"metric.{self.name}.floor", self.floor, self.device)

    def read(self, images: Tensor) -> Tensor:
        """(N, *data shape) -> (N,) classes."""
        assert self.judge is not None, "check() comes first"
        return self.judge.classes(to_pixels(images))

    def facts(self) -> dict[str, Any]:
        assert self.judge is not None, "check() comes first"
        split = {"reference": "train", "reference_size": self.judge.examples}
        return {"samples": self.samples, **split, **self.judge.facts()}


class ClassAccuracy(Judged):
    """`class_accuracy`: the share of samples that the judge reads as the class that was asked for, each class as often.

    `class_accuracy_worst`: of the class where it is least. `class_variety`: the variance of a class's samples over that
    of its examples, summed over pixels, mean over the classes; 0 for one image a class, 1 for the data.
    """

    columns = ("class_accuracy", "class_accuracy_worst", "class_variety")

    def __init__(self, conditional: bool, samples: Count = 200, floor: Share = 0.9, device: Device = None):
        super().__init__("class_accuracy", samples, floor, device)
        self.conditional, self.classes = conditional, 0

    def check(self, dataset: Dataset, objective: Any) -> None:
        if not self.conditional:
            raise UsageError(
                "metric=[class_accuracy] needs a generator that is told the class: set "
                "architecture.class_conditional=true, or take metric=[classes_drawn]"
            )
        super().check(dataset, objective)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        data, self.classes = dataset.load("train"), len(dataset.names)
        right, variety = [], []
        for label in range(self.classes):
            drawn = trained.fakes(self.samples, label)
            right.append(float((self.read(drawn) == label).double().mean()))
            spread = _variance(to_float(data.pixels[data.labels == label]))
            variety += [_variance(drawn) / spread] if spread > 0 else []  # not of a class of one image
        accuracy = {"class_accuracy": sum(right) / len(right), "class_accuracy_worst": min(right)}
        return {**accuracy, "class_variety": sum(variety) / len(variety) if variety else math.nan}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"samples": self.samples * self.classes}


class ClassesDrawn(Judged):
    """`class_kl`: KL(classes of the samples as the judge reads them || classes of the data) in nats.

    The "reverse KL" of Metz et al. 2017, table 1. n fair samples of K classes have (K - 1) / 2n on average.
    """

    columns = ("class_kl",)

    def __init__(self, samples: Count = 2000, floor: Share = 0.9, device: Device = None):
        super().__init__("classes_drawn", samples, floor, device)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        classes = len(dataset.names)
        labels = dataset.load("train").labels
        drawn = _shares(self.read(trained.fakes(self.samples)), classes)
        data = _shares(labels[labels >= 0], classes)
        kl = torch.special.xlogy(drawn, drawn) - torch.special.xlogy(drawn, data)
        return {"class_kl": float(kl.sum())}


def _variance(examples: Tensor) -> float:
    """(N, *data shape) -> the mean squared distance from their mean."""
    return float(examples.flatten(1).double().var(dim=0, correction=0).sum())


def _shares(labels: Tensor, classes: int) -> Tensor:
    return torch.bincount(labels, minlength=classes).double() / len(labels)
