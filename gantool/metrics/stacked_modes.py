"""How many of the thousand modes of stacked MNIST the generator has found."""

from typing import Any

import torch

from gantool.errors import UsageError
from gantool.game.ranges import Count, Share
from gantool.game.types import Dataset, Device, Trained
from gantool.metrics.class_accuracy import Judged


class StackedModes(Judged):
    """`modes_covered`: numbers of three digits that are read in at least one sample, each colour by a judge of digits.

    `modes_kl`: KL(numbers of the samples || numbers of the data) in nats, those of the data being three digits drawn
    each on its own (Metz et al. 2017, table 1; Srivastava et al. 2017, table 2). n perfect samples have about
    999 / 2n, and cover 1000 (1 - e^(-n / 1000)) modes. A judge that errs finds modes that are not there.
    """

    columns = ("modes_covered", "modes_kl")

    def __init__(self, samples: Count = 25_600, floor: Share = 0.9, device: Device = None):
        super().__init__("stacked_modes", samples, floor, device)

    def check(self, dataset: Dataset, objective: Any) -> None:
        if not hasattr(dataset, "digits"):
            raise UsageError(
                "metric=[stacked_modes] counts the modes of dataset=stacked_mnist; drop it for this dataset"
            )
        super().check(dataset.digits, objective)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        colours = trained.fakes(self.samples).flatten(0, 1).unsqueeze(1)
        digits = self.read(colours).view(self.samples, 3)
        number = 100 * digits[:, 0] + 10 * digits[:, 1] + digits[:, 2]
        drawn = torch.bincount(number, minlength=1000).double() / self.samples
        kl = torch.special.xlogy(drawn, drawn) - torch.special.xlogy(drawn, chances(dataset))
        return {"modes_covered": float((drawn > 0).sum()), "modes_kl": float(kl.sum())}


def chances(dataset: Dataset) -> torch.Tensor:
    """(1000,) of each number in the data."""
    labels = dataset.digits.load("train").labels  # type: ignore[attr-defined]
    share = torch.bincount(labels, minlength=10).double() / len(labels)
    return torch.einsum("a,b,c->abc", share, share, share).flatten()
