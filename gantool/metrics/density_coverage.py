"""Precision and recall that outliers do not spoil: both count balls around the data alone."""

from dataclasses import dataclass

from torch import Tensor

from gantool.game.distances import Report, pieces, squared_distances
from gantool.metrics.featured import ByNeighbours


@dataclass
class Balls(ByNeighbours):
    """Balls around the examples of the data (Naeem et al. 2020, section 3)."""

    def measured(self, fakes: Tensor, reals: Tensor, report: Report) -> dict[str, float]:
        density, coverage = density_coverage(fakes, reals, self.neighbours, report)
        return {"density": density, "coverage": coverage}


class Density(Balls):
    """`density`: how many balls a sample lies in on average, over `neighbours`; 1 for the data's own distribution."""

    name, columns = "density", ("density",)


class Coverage(Balls):
    """`coverage`: the share of balls with a sample in them; about 1 - 2^-neighbours for the data's own distribution."""

    name, columns = "coverage", ("coverage",)


def density_coverage(fakes: Tensor, reals: Tensor, k: int, report: Report) -> tuple[float, float]:
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
