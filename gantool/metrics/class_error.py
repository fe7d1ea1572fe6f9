"""How often a discriminator that sorts examples puts one in the wrong class."""

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment

from gantool.errors import UsageError
from gantool.game.images import to_float
from gantool.game.types import Dataset, Trained


class ClassError:
    """Of the test split: `class_error`, the share that is wrong, and `class_errors`, their number.

    As in Salimans et al. 2016, table 1. `matched`: the values of an InfoGAN's code have no names, so each is first
    given the class with which it goes best, one to one (Chen et al. 2016, section 7.2: "by matching each category").
    """

    columns = ("class_error", "class_errors")

    def __init__(self, matched: bool = False):
        self.matched, self.examples = matched, 0

    def check(self, dataset: Dataset, objective: Any) -> None:
        if not dataset.names:
            raise UsageError("metric=[class_error] needs a dataset with classes; drop it for this one")
        logits = objective.class_logits(torch.zeros(1, objective.logits))
        if logits is None:
            raise UsageError(
                "metric=[class_error] needs a discriminator that sorts examples: take objective=semi_supervised, "
                "auxiliary_classifier or info, or drop it"
            )
        if logits.shape[1] != len(dataset.names):
            raise UsageError(
                f"metric=[class_error] compares {logits.shape[1]} values of a code with {len(dataset.names)} classes: "
                f"give objective.categorical=[{len(dataset.names)}], or drop it"
            )
        dataset.load("test")  # there is one

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        images = dataset.load("test")
        logits = trained.class_logits(to_float(images.pixels))
        assert logits is not None, "check() has refused this objective"
        found = confusion(logits.argmax(dim=1), images.labels, len(dataset.names))
        self.examples = len(images.labels)
        right = int(found.numpy()[linear_sum_assignment(-found)].sum() if self.matched else found.diagonal().sum())
        wrong = len(images.labels) - right
        return {"class_error": wrong / len(images.labels), "class_errors": wrong}

    def facts(self) -> dict[str, Any]:
        return {"matched": self.matched, "reference": "test", "reference_size": self.examples}


def confusion(found: torch.Tensor, label: torch.Tensor, classes: int) -> torch.Tensor:
    """(M,), (M,) -> (classes, classes) counts: row = what was found, column = the label."""
    return torch.bincount(found * classes + label, minlength=classes**2).view(classes, classes)
