"""How many samples lie where data lie, and how many data where samples lie."""

from dataclasses import dataclass
from typing import Any

from gantool.game.distances import exact
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained
from gantool.metrics.featured import Compared

ROWS = 1000  # distances to all examples that are held at a time, by rows


@dataclass
class Neighbours(Compared):
    """Sets are balls around their vectors, each as far as its `neighbours`-th neighbour (Kynkäänniemi et al. 2019)."""

    neighbours: Count = 3

    @property
    def least(self) -> int:
        return self.neighbours + 1

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        fakes, reals = self.pair(trained, dataset)
        key = (self.extractor.fingerprint, self.samples, self.split, self.reference, self.neighbours)

        def measure() -> dict[str, float]:
            from torch_fidelity.metric_prc import prc_features_to_metric

            trained.report("neighbours", 0, len(fakes))
            sides = [side.double().to(exact(trained.device)) for side in (fakes, reals)]
            return prc_features_to_metric(
                *sides, prc_neighborhood=self.neighbours, prc_batch_size=ROWS, save_cpu_ram=True, verbose=False
            )

        found = trained.once(("precision and recall", *key), measure)
        return {name: found[name] for name in self.columns}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"neighbours": self.neighbours}


class Precision(Neighbours):
    """`precision`: the share of samples within a ball of the data (Kynkäänniemi et al. 2019, section 2)."""

    name, columns = "precision", ("precision",)


class Recall(Neighbours):
    """`recall`: the share of the data's examples within a ball of the samples (Kynkäänniemi et al. 2019, section 2)."""

    name, columns = "recall", ("recall",)
