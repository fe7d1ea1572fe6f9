"""What the discriminator says of examples that it was not trained on."""

import math
from typing import Any

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.images import to_float
from gantool.game.types import Dataset, Trained


class Divergence:
    """How well the run's D tells the test split from fresh samples, in batches as in training, without dropout.

    `test_divergence` is the objective's estimate: of the Jensen-Shannon divergence (V + log 4) / 2 (Goodfellow et al.
    2014, theorem 1), a lower bound whatever D is. `test_d_accuracy`: the share of both that it judges rightly, 0.5 at
    the equilibrium. `test_d_real`, `test_d_fake`: its mean output. NaN where the objective has no such number. Of
    training examples D knows more (the columns without `test_`): as much as it has learnt by heart.
    """

    columns = ("test_divergence", "test_d_accuracy", "test_d_real", "test_d_fake")

    def __init__(self) -> None:
        self.examples = 0

    def check(self, dataset: Dataset, objective: Objective) -> None:
        if not objective.critic:
            raise UsageError("metric=[divergence] asks a discriminator, and this objective has none: drop it")
        dataset.load("test")  # there is one

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]:
        test = dataset.load("test")
        self.examples = len(test.pixels)
        said = trained.verdicts(to_float(test.pixels), test.labels)
        if "d_accuracy_real" in said:
            said["d_accuracy"] = (said["d_accuracy_real"] + said["d_accuracy_fake"]) / 2
        return {column: said.get(column.removeprefix("test_"), math.nan) for column in self.columns}

    def facts(self) -> dict[str, Any]:
        return {"samples": self.examples, "reference": "test", "reference_size": self.examples}
