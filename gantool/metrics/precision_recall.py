"""How many samples lie where data lie, and how many data where samples lie."""

from dataclasses import dataclass

from torch import Tensor

from gantool.game.distances import Report
from gantool.game.ranges import Count
from gantool.metrics.featured import ByNeighbours

ROWS = 1000  # distances to all examples that are held at a time, by rows


@dataclass
class Manifolds(ByNeighbours):
    """Balls around the examples, and around the samples (Kynkäänniemi et al. 2019)."""

    neighbours: Count = 3

    def measured(self, fakes: Tensor, reals: Tensor, report: Report) -> dict[str, float]:
        from torch_fidelity.metric_prc import prc_features_to_metric

        report("neighbours", 0, len(fakes))
        return prc_features_to_metric(
            fakes, reals, prc_neighborhood=self.neighbours, prc_batch_size=ROWS, save_cpu_ram=True, verbose=False
        )


class Precision(Manifolds):
    """`precision`: the share of samples within a ball of the data (Kynkäänniemi et al. 2019, section 2)."""

    name, columns = "precision", ("precision",)


class Recall(Manifolds):
    """`recall`: the share of the data's examples within a ball of the samples (Kynkäänniemi et al. 2019, section 2)."""

    name, columns = "recall", ("recall",)
