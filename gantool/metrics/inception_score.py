"""Whether each sample is clearly of one class, and all classes are drawn."""

from dataclasses import dataclass
from typing import Any

from gantool.errors import UsageError
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained
from gantool.metrics.featured import Featured


@dataclass
class InceptionScore(Featured):
    """`inception_score`: exp E KL(p(y | x) || p(y)) of a classifier's y (Salimans et al. 2016, section 4).

    1 at least, the number of classes at most; the mean over `splits` parts of the samples, and `inception_score_sd`,
    their standard deviation. It does not look at the data: a memory of one image a class does best.
    """

    name, columns = "inception_score", ("inception_score", "inception_score_sd")

    splits: Count = 10

    def check(self, dataset: Dataset, objective: Any) -> None:
        if self.features == "pixels":
            raise UsageError(
                "metric.inception_score.features=pixels has no classes: take classifier or inception, or drop it"
            )
        self.enough(self.samples, self.splits)
        super().check(dataset, objective)

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

        logits = self.of_samples(trained).logits
        assert logits is not None, "check() has refused this extractor"
        found = isc_features_to_metric(logits, self.splits)
        return {"inception_score": found[KEY_METRIC_ISC_MEAN], "inception_score_sd": found[KEY_METRIC_ISC_STD]}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"splits": self.splits}
