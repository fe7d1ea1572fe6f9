"""Small runs that are measured: what the tests of metrics during training and afterwards share."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from gantool.metrics.modes import Modes
from gantool.runs.folder import RunFolder

RING = (
    "dataset=ring", "dataset.size=200", "batch_size=16", "architecture.generator.hidden=[8]",
    "architecture.discriminator.hidden=[8]", "logger=[]", "steps=8", "tick_every=4", "sample_every=8",
    "checkpoint_every=8", "keep_last=9",
)  # fmt: skip
STATEFUL = (
    "architecture.generator.normalization=batch", "architecture.generator.dropout=0.3",
    "architecture.generator.noise=0.1", "trick=[ema,instance_noise]",
)  # fmt: skip
MODES = ("metric=[modes]", "metric.modes.samples=300", "evaluate_every=2")
RUN = Path("run")


def rows(run: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text("utf-8").splitlines()]


def state(run: str, step: int = 8) -> dict[str, Any]:
    return torch.load(RunFolder(run).checkpoint(step), weights_only=True)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """A checkpoint's leaves by their path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    below = {name: leaf for key, item in items for name, leaf in flat(item, f"{path}/{key}").items()}
    return below if isinstance(value, dict | list | tuple) else {path: value}


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Leaves that are not the same bit for bit, but for the clock."""
    a, b = flat(one), flat(other)
    same = lambda x, y: torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y  # noqa: E731
    return {name for name in a.keys() | b.keys() if name not in a or name not in b or not same(a[name], b[name])} - {
        "/seconds"
    }


def rude(monkeypatch: pytest.MonkeyPatch, at: int = 0, *signals: signal.Signals) -> None:
    """The metric reseeds torch, as libraries do; and in its `at`th call, after a few samples, the signals come.

    Each of them, whatever the one before has raised.
    """
    measure, calls = Modes.__call__, []

    def measured(self, trained, dataset):
        calls.append(torch.manual_seed(1))
        if len(calls) == at:
            trained.fakes(10)
            with ExitStack() as unwinding:
                for one in signals:
                    unwinding.callback(signal.raise_signal, one)
        return measure(self, trained, dataset)

    monkeypatch.setattr(Modes, "__call__", measured)
