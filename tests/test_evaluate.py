"""Metrics of a run: during training, and afterwards by `gantool evaluate`."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.metrics.modes import Modes
from gantool.runs import checkpoint, status
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
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


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
    """The metric reseeds torch, as libraries do; and in its `at`th call, after a few samples, the signals come."""
    measure, calls = Modes.__call__, []

    def measured(self, trained, dataset):
        calls.append(torch.manual_seed(1))
        if len(calls) == at:
            trained.fakes(10)
            for one in signals:
                signal.raise_signal(one)
        return measure(self, trained, dataset)

    monkeypatch.setattr(Modes, "__call__", measured)


# ---------------------------------------------------------------------------------------- during training


def test_metrics_do_not_disturb_training(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, running means, optimisers, averages and generators are bit for bit those of a run without metrics."""
    rude(monkeypatch)
    assert gantool("train", *RING, *STATEFUL, "hydra.run.dir=off").code == 0
    assert gantool("train", *RING, *STATEFUL, *MODES, "hydra.run.dir=on").code == 0
    assert [row["step"] for row in rows("on") if "modes_kl" in row] == [2, 4, 6, 8]
    means = {name for name in flat(state("on")) if name.startswith("/meters/")}
    assert differing(state("off"), state("on")) <= means  # rows are written at other steps
    assert differing(state("off")["game"], state("on")["game"]) == set()
    assert any("running_mean" in name for name in flat(state("on")))


@pytest.mark.parametrize(("call", "step"), [(2, 4), (4, 8)])
def test_a_signal_gives_up_an_evaluation_and_a_resumed_run_repeats_it(
    gantool: Gantool, monkeypatch: pytest.MonkeyPatch, call: int, step: int
) -> None:
    """Also the last one. The resumed run equals the uninterrupted one, its rows too."""
    settings = (*RING, *STATEFUL, *MODES)
    assert gantool("train", *settings, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        rude(patch, call, signal.SIGINT)
        stopped = gantool("train", *settings, "hydra.run.dir=run")
    assert stopped.code == 130 and f"after step {step}, which is saved" in stopped.err
    assert [row["step"] for row in rows()] == list(range(2, step, 2))
    assert gantool("train", "resume=run").code == 0
    assert differing(state("whole"), state("run")) == set()
    clocks = {"seconds", "images_per_second"}
    told = [[{name: row[name] for name in row.keys() - clocks} for row in rows(run)] for run in ("whole", "run")]
    assert told[0] == told[1]
    assert status.read(RunFolder(RUN))["state"] == "done"


def test_a_second_signal_ends_an_evaluation_too(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    rude(monkeypatch, 4, signal.SIGTERM)
    assert gantool("train", *RING, *MODES, "hydra.run.dir=run").code == 143
    assert checkpoint.steps(RunFolder(RUN)) == [8]


def test_rows_say_what_their_metrics_depend_on(gantool: Gantool) -> None:
    assert gantool("train", *RING, *MODES, "trick=[ema]", "seed=3", "hydra.run.dir=run").code == 0
    with_metrics, without = [[row for row in rows() if ("modes_kl" in row) == has] for has in (True, False)]
    assert all("measured" not in row for row in without)
    for row in with_metrics:
        measured = row["measured"]
        assert measured["metrics"] == {"modes": {"samples": 300, "within": 3.0, "least": 1}}
        assert (measured["seed"], measured["weights"]) == (3, "averaged")
        assert measured["data"] == status.read(RunFolder(RUN))["data"]["fingerprint"]
        assert measured["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "measured" not in gantool("runs", ".").out


@pytest.mark.parametrize(
    ("name", "code", "steps"),
    [
        ("modes_kl", 0, 8),
        ("modes_high_quality", 0, 8),
        ("diversity", 0, 8),
        ("mode_kl", 2, 2),
        ("measured", 2, 2),
    ],
)
def test_best_takes_any_column_and_refuses_others_at_the_first_row(
    gantool: Gantool, name: str, code: int, steps: int
) -> None:
    """modes_kl is infinite where no sample is good: that is never best."""
    every = ("tick_every=2", "evaluate_every=8", "sample_every=4")
    done = gantool("train", *RING, *MODES, *every, f"best.metric={name}", "hydra.run.dir=run")
    assert done.code == code, done.err
    assert checkpoint.steps(RunFolder(RUN))[-1] == steps
    if code:
        assert f"best.metric={name} is no column" in done.err and "modes_kl" in done.err
    else:
        best = status.read(RunFolder(RUN))["best"]
        values = {row["step"]: row[name] for row in rows() if row.get(name) is not None}
        assert (best or {}).get("value") == min(values.values(), default=None)
