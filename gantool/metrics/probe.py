"""What can be read off the discriminator's hidden layers by a linear classifier."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.images import hide_labels, to_float
from gantool.game.ranges import Count
from gantool.game.types import Dataset, Trained

SIDE = 4  # of the maps that a hidden layer is pooled to (Radford et al. 2015, section 5.1)
COSTS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of margins that are missed: the classifier's, chosen by cross-validation


class Probe:
    """`probe_N`: accuracy on the test split of a linear L2-SVM that is given the class of N training examples.

    It sees all hidden layers of D, maps max-pooled to 4 x 4 (Radford et al. 2015, section 5.1), each number in units of
    its standard deviation. `probe_all`: given all. How strongly it is regularised is cross-validated on the N examples.
    """

    def __init__(self, labels: list[Count | None] = [100, 1000]):  # noqa: B006 (read only)
        self.labels, self.numbers, self.examples = labels, 0, 0
        self.columns = tuple(f"probe_{'all' if each is None else each}" for each in labels)

    def check(self, dataset: Dataset, objective: Objective) -> None:
        if not dataset.names:
            raise UsageError("metric=[probe] needs a dataset with classes; drop it for this one")
        if not objective.critic:
            raise UsageError(
                "metric=[probe] reads a discriminator's hidden layers, and this objective has none: drop it"
            )
        train, _ = dataset.load("train"), dataset.load("test")
        for each in self.labels:
            hide_labels(train, each, 0, "metric.probe.labels")

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        train, test = dataset.load("train"), dataset.load("test")
        self.examples = len(test.labels)
        tested = pooled(trained.hidden(to_float(test.pixels)))
        self.numbers = tested.shape[1]
        found = {}
        for name, labels in zip(self.columns, self.labels, strict=True):
            known = hide_labels(train, labels, 0).labels >= 0
            features = pooled(trained.hidden(to_float(train.pixels[known])))
            found[name] = accuracy(features, train.labels[known], tested, test.labels)
        return found

    def facts(self) -> dict[str, Any]:
        return {"numbers": self.numbers, "reference": "test", "reference_size": self.examples}


def pooled(layers: list[Tensor]) -> Tensor:
    """Maps (N, C, H, W) and (N, F) -> (N, all their numbers), large maps pooled."""
    if not layers:
        raise UsageError("metric=[probe] reads a discriminator's hidden layers, and this one has none: drop it")
    small = [
        F.adaptive_max_pool2d(layer, SIDE) if layer.dim() == 4 and layer.shape[-1] > SIDE else layer for layer in layers
    ]
    return torch.cat([layer.flatten(1) for layer in small], dim=1)


def accuracy(features: Tensor, label: Tensor, tested: Tensor, test_label: Tensor) -> float:
    """(N, F), (N,) to learn from, (M, F), (M,) to be right on -> the share that is right."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    classifier = make_pipeline(StandardScaler(), LinearSVC(loss="squared_hinge", random_state=0))
    folds = min(3, int(label.bincount().min()))  # one example of a class cannot be both learnt from and tested on
    costs = {"linearsvc__C": COSTS}
    search = GridSearchCV(classifier, costs, cv=folds) if folds > 1 else classifier.set_params(linearsvc__C=0.01)
    return float(search.fit(features.numpy(), label.numpy()).score(tested.numpy(), test_label.numpy()))
