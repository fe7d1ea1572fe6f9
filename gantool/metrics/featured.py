"""What metrics over features have in common."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from gantool.errors import UsageError
from gantool.features.extractors import Extractor, choose
from gantool.features.sets import Features, Reference, of_samples
from gantool.game.distances import Report, exact
from gantool.game.ranges import Count, Share
from gantool.game.types import Dataset, Device, Trained


@dataclass
class Featured:
    """Looks at features of samples, which all metrics of an evaluation share."""

    name: ClassVar[str]  # of the metric
    columns: ClassVar[tuple[str, ...]]

    features: Literal["inception", "classifier", "pixels"] = "inception"
    weights: str | None = None
    floor: Share = 0.7
    samples: Count = 10_000
    device: Device = None

    def __post_init__(self) -> None:
        self._extractor: Extractor | None = None

    def check(self, dataset: Dataset, objective: Any) -> None:
        self._extractor = choose(self.features, self.name, dataset, self.weights, self.floor, self.device)

    def enough(self, there: int, least: int) -> None:
        if there < least:
            raise UsageError(f"metric=[{self.name}] needs {least} samples and examples, and has {there}: give more")

    @property
    def extractor(self) -> Extractor:
        assert self._extractor is not None, "check() comes first"
        return self._extractor

    def of_samples(self, trained: Trained) -> Features:
        return of_samples(trained, self.extractor, self.samples)

    def facts(self) -> dict[str, Any]:
        return {"samples": self.samples, **self.extractor.facts()}


@dataclass
class Compared(Featured):
    """Compares them with those of a split: of as many examples as `reference` says, always the same ones, or of all.

    What is extracted from the data is kept for all runs.
    """

    split: Literal["train", "test"] = "train"
    reference: Count = 50_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.compared = 0  # examples

    @property
    def least(self) -> int:
        """Examples and samples that it needs."""
        return 2

    def check(self, dataset: Dataset, objective: Any) -> None:
        self.enough(min(self.samples, self.reference, len(dataset.load(self.split).pixels)), self.least)
        super().check(dataset, objective)

    def of_data(self, trained: Trained, dataset: Dataset) -> Reference:
        return Reference(dataset, self.split, self.reference, self.extractor, trained)

    def pair(self, trained: Trained, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """(N, F) of the samples, (M, F) of as many examples, if there are."""
        fakes, reals = self.of_samples(trained).vectors, self.of_data(trained, dataset).vectors(self.samples)
        self.compared = len(reals)
        return fakes, reals

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"reference": self.split, "reference_size": self.compared}


@dataclass
class ByNeighbours(Compared):
    """Compares balls around vectors, each as far as its `neighbours`-th neighbour. Two columns of one measurement."""

    neighbours: Count = 5

    @property
    def least(self) -> int:
        return self.neighbours + 1

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        fakes, reals = (side.double().to(exact(trained.device)) for side in self.pair(trained, dataset))
        key = (self.extractor.fingerprint, self.samples, self.split, self.reference, self.neighbours)
        found = trained.once((self.measured.__qualname__, *key), lambda: self.measured(fakes, reals, trained.report))
        return {name: found[name] for name in self.columns}

    def measured(self, fakes: Tensor, reals: Tensor, report: Report) -> dict[str, float]:
        """(N, F), (M, F) float64 -> both columns."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"neighbours": self.neighbours}
