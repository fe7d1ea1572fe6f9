"""The samples that a run shows again and again while it trains."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gantool.engine.deploy import Deployed

IMAGES, LARGE, POINTS = 100, 36, 2000  # samples of images up to 64 pixels high, of larger ones, and of points
MOST = 20  # columns of a grid


class Shown:
    """Latents and labels that all grids of a run share. Where classes are few enough, a column is of one class."""

    def __init__(self, deployed: Deployed, data: dict[str, Any], seed: int):
        shape, classes, self.names = data["shape"], len(data["class_counts"]), tuple(data["names"])
        n = POINTS if len(shape) != 3 else IMAGES if shape[1] <= 64 else LARGE
        self.columns = round(n**0.5)
        generator = torch.Generator().manual_seed(seed)
        wide = whole_columns(classes, n) if classes and len(shape) == 3 else 0
        if 0 < wide <= min(MOST, n // 3):
            self.columns, n = wide, n // wide * wide
            self.labels = torch.arange(n) % wide // (wide // classes)
        else:
            self.labels = torch.arange(n) % classes if classes else deployed.labels(n, generator)
        self.latents = deployed.latents(n, generator)

    def classes(self) -> list[str] | None:
        """Of each sample what it was asked to be; None where nothing is conditional."""
        return named(self.labels, self.names)

    def state_dict(self) -> dict[str, Tensor]:
        return {"latents": self.latents, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.latents, self.labels = state["latents"], state["labels"]


def named(labels: Tensor, names: Sequence[str]) -> list[str] | None:
    """(N,) -> the name of each class; None where there is none."""
    return [names[label] for label in labels.tolist()] if len(names) and bool((labels >= 0).all()) else None


def whole_columns(classes: int, n: float) -> int:
    """Samples in a row, so that a column is of one class, and the grid as square as can be."""
    return classes * max(1, round(n**0.5 / classes))
