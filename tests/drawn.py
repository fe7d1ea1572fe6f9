"""A generator whose samples are known, as a metric sees one."""

from collections.abc import Callable, Hashable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gantool.game.types import Images


class Drawn:
    """Draws the samples that it is given, in their order."""

    device = torch.device("cpu")

    def __init__(self, samples: Tensor):
        self.samples, self.shared, self.told = samples, dict[Hashable, Any](), list[tuple[str, int, int]]()

    def fakes(self, n: int) -> Tensor:
        return self.samples[:n]

    def batches(self, n: int) -> Iterator[Tensor]:
        return iter(self.samples[:n].split(256))

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        self.shared[key] = self.shared[key] if key in self.shared else make()
        return self.shared[key]

    def report(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))


def dataset(train: Tensor, test: Tensor | None = None) -> Any:
    """Points without classes."""
    splits = {"train": train, "test": train if test is None else test}
    load = lambda split="train": Images(splits[split], torch.full((len(splits[split]),), -1))  # noqa: E731
    return SimpleNamespace(shape=tuple(train.shape[1:]), names=(), flip=False, load=load)


def measured(metric: Any, samples: Tensor, data: Any) -> dict[str, float]:
    """A metric of samples against a dataset; `samples` counts them."""
    metric.samples = len(samples)
    metric.check(data, None)
    return metric(Drawn(samples), data)
