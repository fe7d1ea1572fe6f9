"""How far the samples are from the data, without a bias and without assuming Gaussians."""

from dataclasses import dataclass
from typing import Any

from gantool.errors import UsageError
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained
from gantool.metrics.featured import Compared


@dataclass
class KID(Compared):
    """`kid`: the squared MMD of the features under the kernel (x y / F + 1)^3 (Bińkowski et al. 2018, section 4).

    The mean of unbiased estimates on `subsets` random subsets, so slightly negative at times; `kid_sd`, their standard
    deviation, where subsets differ.
    """

    name, columns = "kid", ("kid", "kid_sd")

    subsets: Count = 100
    subset_size: Count = 1000

    def check(self, dataset: Dataset, objective: Any) -> None:
        if self.subset_size < 2:
            raise UsageError("metric.kid.subset_size needs 2 samples and examples, and has 1: give more")
        super().check(dataset, objective)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

        fakes, reals = self.pair(trained, dataset)
        self.size = min(self.subset_size, len(fakes), len(reals))
        found = kid_features_to_metric(
            fakes.double(), reals.double(), kid_subsets=self.subsets, kid_subset_size=self.size, verbose=False
        )
        spread = {"kid_sd": found[KEY_METRIC_KID_STD]} if self.size < max(len(fakes), len(reals)) else {}
        return {"kid": found[KEY_METRIC_KID_MEAN], **spread}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"subsets": self.subsets, "subset_size": self.size}
