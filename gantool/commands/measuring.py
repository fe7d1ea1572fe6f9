"""The metrics of a run: what fits, what is measured, and what makes two measurements comparable."""

import json
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial
from typing import Any

import torch

from gantool.config.build import Builder
from gantool.engine.deploy import Deployed
from gantool.engine.random import set_seed
from gantool.errors import UsageError
from gantool.game.images import fingerprint, loaded
from gantool.game.promises import callable_as, kind_of
from gantool.game.types import Dataset, Images, Metric
from gantool.runs import status
from gantool.runs.rows import kind, plain

Told = Callable[[str, str, int, int], None]  # hears of progress: metric, of what, how much is done, of how much


class Metrics:
    """Any number of them, by the names that they were chosen by."""

    def __init__(
        self,
        builder: Builder,
        nodes: Mapping[str, Any] | None,  # the components of the group `metric`
        config: Mapping[str, Any],  # of the run that is measured
        device: torch.device,
    ):
        facts = {"conditional": config["architecture"]["class_conditional"], "device": device}
        self.chosen: dict[str, Metric] = {
            name: builder.make(f"metric.{name}", node, None, facts) for name, node in (nodes or {}).items()
        }
        self.truncation: float | None = config.get("truncation")  # older runs have no such key
        self.data = ""  # fingerprint of the training split, whose labels may be hidden from the run
        self.columns: dict[str, str] = {}  # -> name of the metric
        for name, metric in self.chosen.items():
            self._claim(name, metric)

    def _claim(self, name: str, metric: Metric) -> None:
        lacking = [part for part in ("columns", "check", "facts") if not hasattr(metric, part)]
        if lacking:
            raise UsageError(f"metric.{name}: {type(metric).__name__} has no `{lacking[0]}` (gantool/game/types.py)")
        callable_as(metric, f"metric.{name}", "trained", "dataset")
        for column in metric.columns:
            if kind(column) != "metric":
                raise UsageError(f"metric.{name} gives the column {column}, which training has: rename it")
            if column in self.columns:
                raise UsageError(f"metric=[{self.columns[column]},{name}] both give the column {column}: drop one")
            self.columns[column] = name

    def check(self, dataset: Dataset, deployed: Deployed) -> None:
        """Raises UsageError where one of them does not fit, or a prior has no tails to cut."""
        kept = Kept(dataset)
        for metric in self.chosen.values():
            metric.check(kept, deployed.game.objective)
        deployed.latents(1, torch.Generator(), self.truncation)
        if self.chosen:
            self.data = fingerprint(kept.load("train"))

    def __call__(
        self, deployed: Deployed, dataset: Dataset, seed: int, tell: Told, facts: dict[str, Any]
    ) -> dict[str, Any]:
        """All columns, and as `measured` what they depend on, the given facts too; {} without metrics.

        The draws of each metric follow from the seed alone.
        """
        found: dict[str, Any] = {}
        kept, shared = Kept(dataset), dict[Hashable, Any]()
        for name, metric in self.chosen.items():
            tell(name, "", 0, 0)
            set_seed(deployed.device, seed)  # for libraries that draw from torch's own generator
            values = metric(deployed.seeded(seed, partial(tell, name), shared, self.truncation), kept)
            found |= _numbers(name, values, metric.columns)
        return found and found | {"measured": self._measured(deployed, seed) | facts}

    def _measured(self, deployed: Deployed, seed: int) -> dict[str, Any]:
        return {
            "metrics": {name: _facts(name, metric) for name, metric in self.chosen.items()},
            "seed": seed,
            "weights": "averaged" if deployed.averaged else "raw",
            "truncation": self.truncation,
            "batch_size": deployed.batch_size,
            "data": self.data,
            "versions": status.environment(),
        }


def _facts(name: str, metric: Metric) -> dict[str, Any]:
    facts = metric.facts()
    try:
        json.dumps(plain(facts))
    except TypeError as error:
        raise UsageError(
            f"metric.{name}: what facts() gives cannot be written as JSON ({error}): give numbers, text and lists"
        ) from error
    return facts


def _numbers(name: str, values: Any, columns: Collection[str]) -> dict[str, float]:
    """What a metric gives as plain numbers: it may be the user's own, and give NumPy's or torch's."""
    if not isinstance(values, Mapping):
        raise UsageError(f"metric.{name} gives {kind_of(values)}: return a dictionary, column: number")
    stray = values.keys() - set(columns)
    if stray:
        raise UsageError(f"metric.{name} gives {', '.join(stray)}, which its `columns` do not name: mend them")
    found = {}
    for column, value in values.items():
        try:
            found[column] = value if isinstance(value, int) else float(value)
        except (TypeError, ValueError, RuntimeError) as error:  # the last is torch's, for several elements
            given = kind_of(value)
            raise UsageError(f"metric.{name} gives {given} as {column}: return what float() takes") from error
    return found


class Kept:
    """A dataset that reads each of its splits once."""

    def __init__(self, dataset: Dataset):
        self._dataset, self._splits = dataset, dict[str, Images]()

    def load(self, split: str = "train") -> Images:
        if split not in self._splits:
            self._splits[split] = loaded(self._dataset, split)
        return self._splits[split]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)
