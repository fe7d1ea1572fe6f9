"""Precision and recall that outliers do not spoil: both count balls around the data alone."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gantool.game.distances import exact, pieces, squared_distances
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained
from gantool.metrics.featured import Compared


@dataclass
class Balls(Compared):
    """A ball around each example of the data, to its `neighbours`-th neighbour (Naeem et al. 2020, section 3)."""

    neighbours: Count = 5

    @property
    def least(self) -> int:
        return self.neighbours + 1

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        fakes, reals = self.pair(trained, dataset)
        key = (self.extractor.fingerprint, self.samples, self.split, self.reference, self.neighbours)

        def measure() -> tuple[float, float]:
            return density_coverage(
                fakes.to(exact(trained.device)), reals.to(exact(trained.device)), self.neighbours, trained.report
            )

        found = trained.once(("density and coverage", *key), measure)
        return {name: value for name, value in zip(("density", "coverage"), found, strict=True) if name in self.columns}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"neighbours": self.neighbours}


class Density(Balls):
    """`density`: how many balls a sample lies in on average, over `neighbours`; 1 for the data's own distribution."""

    name, columns = "density", ("density",)


class Coverage(Balls):
    """`coverage`: the share of balls with a sample in them; about 1 - 2^-neighbours for the data's own distribution."""

    name, columns = "coverage", ("coverage",)


def density_coverage(fakes: Tensor, reals: Tensor, k: int, report: Any) -> tuple[float, float]:
    """(N, F), (M, F) -> both (Naeem et al. 2020, equations 4 and 5)."""
    centre = reals.double().mean(dim=0)
    fakes, reals = fakes.double() - centre, reals.double() - centre
    inside, covered, done = 0, 0, 0
    for balls in pieces(reals, len(reals) + len(fakes)):
        radius = squared_distances(balls, reals).kthvalue(k + 1, dim=1, keepdim=True).values
        within = squared_distances(balls, fakes) < radius
        inside += int(within.sum())
        covered += int(within.any(dim=1).sum())
        done += len(balls)
        report("neighbours", done, len(reals))
    return inside / (k * len(fakes)), covered / len(reals)
