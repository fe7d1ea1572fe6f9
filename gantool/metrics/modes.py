"""How many modes of a known mixture the generator has found."""

from typing import Any

import torch

from gantool.errors import UsageError
from gantool.game.ranges import Count, Positive
from gantool.game.types import Dataset, Trained


class Modes:
    """For ring and grid (Metz et al. 2017, appendix; Srivastava et al. 2017, section 4.1).

    A sample is of high quality within `within` standard deviations of the nearest mode, by Euclidean distance; a mode
    is covered by at least `least` such samples. `modes_kl` is KL(share of samples by nearest mode || uniform) in nats,
    over the samples of high quality.
    """

    columns = ("modes_covered", "modes_high_quality", "modes_kl")

    def __init__(self, samples: Count = 10_000, within: Positive = 3.0, least: Count = 1):
        self.samples, self.within, self.least = samples, within, least

    def check(self, dataset: Dataset, objective: Any) -> None:
        if not hasattr(dataset, "centers"):
            raise UsageError(
                "metric=[modes] counts the modes of dataset=ring and dataset=grid; drop it for this dataset"
            )

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        centers, std = dataset.centers, dataset.std  # type: ignore[attr-defined]
        distance, nearest = torch.cdist(trained.fakes(self.samples).double(), centers.double()).min(dim=1)
        good = nearest[distance <= self.within * std]
        counts = torch.bincount(good, minlength=len(centers))
        share = counts / counts.sum().clamp(min=1)
        kl = torch.special.xlogy(share, share * len(centers)).sum()
        return {
            "modes_covered": float((counts >= self.least).sum()),
            "modes_high_quality": len(good) / self.samples,
            "modes_kl": float(kl) if len(good) else float("inf"),
        }

    def facts(self) -> dict[str, Any]:
        return {"samples": self.samples, "within": self.within, "least": self.least}
