"""Metrics during training: they change nothing, and their rows say what they depend on."""

import json
import logging
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.dispatch import main
from gantool.commands.measuring import Metrics
from gantool.config.build import Builder
from gantool.runs import checkpoint, status
from gantool.runs.folder import RunFolder
from gantool.runs.rows import Rows
from measured import MODES, RING, RUN, STATEFUL, differing, flat, rows, rude, state
from toys import plain, points, refusal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that is evaluated every second step, by a metric that reseeds torch."""
    folder, handlers = tmp_path_factory.mktemp("whole") / "run", logging.getLogger().handlers[:]
    with pytest.MonkeyPatch.context() as patch:
        rude(patch)
        assert main(["train", *RING, *STATEFUL, *MODES, f"hydra.run.dir={folder}"]) == 0
    logging.getLogger().handlers[:] = handlers
    return str(folder)


def test_metrics_do_not_disturb_training(gantool: Gantool, whole: str) -> None:
    """Weights, running means, optimisers, averages and generators are bit for bit those of a run without metrics."""
    assert gantool("train", *RING, *STATEFUL, "hydra.run.dir=off").code == 0
    assert [row["step"] for row in rows(whole) if "modes_kl" in row] == [2, 4, 6, 8]
    means = {name for name in flat(state(whole)) if name.startswith("/meters/")}
    assert differing(state("off"), state(whole)) <= means  # rows are written at other steps
    assert differing(state("off")["game"], state(whole)["game"]) == set()
    assert any("running_mean" in name for name in flat(state(whole)))


@pytest.mark.parametrize(
    ("call", "signals", "code", "saved"),
    [
        (2, [signal.SIGINT], 130, 4),
        (4, [signal.SIGTERM], 143, 8),
        (4, [signal.SIGINT, signal.SIGINT], 130, 6),  # the second is taken at its word: what was saved before is there
    ],
)
def test_signals_give_up_an_evaluation_and_a_resumed_run_repeats_it(
    gantool: Gantool, whole: str, monkeypatch: pytest.MonkeyPatch, call: int, signals: list, code: int, saved: int
) -> None:
    """Also the last one. The resumed run equals the uninterrupted one, its rows too."""
    with monkeypatch.context() as patch:
        rude(patch, call, *signals)
        stopped = gantool("train", *RING, *STATEFUL, *MODES, "checkpoint_every=6", "hydra.run.dir=run")
    assert stopped.code == code and "Traceback" not in stopped.err
    assert (f"after step {saved}, which is saved" in stopped.err) == (len(signals) == 1)
    assert checkpoint.steps(RunFolder(RUN))[-1] == saved
    assert [row["step"] for row in rows()] == list(range(2, 2 * call, 2))
    assert gantool("train", "resume=run").code == 0
    assert differing(state(whole), state("run")) == set()
    clocks = {"seconds", "images_per_second"}
    told = [[{name: row[name] for name in row.keys() - clocks} for row in rows(run)] for run in (whole, "run")]
    assert told[0] == told[1]
    assert status.read(RunFolder(RUN))["state"] == "done"


def test_rows_say_what_their_metrics_depend_on(gantool: Gantool) -> None:
    done = gantool("train", *RING, *MODES, "trick=[ema]", "seed=3", "hydra.run.dir=run")
    assert done.code == 0 and f"measured   modes_covered {rows()[-1]['modes_covered']:.5g}" in done.err
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
        ("mode_kl", 2, None),
        ("measured", 2, None),
    ],
)
def test_best_takes_any_column_and_refuses_others_after_the_first_step(
    gantool: Gantool, name: str, code: int, steps: int | None
) -> None:
    """modes_kl is infinite where no sample is good: that is never best."""
    every = ("tick_every=2", "evaluate_every=8", "sample_every=4")
    done = gantool("train", *RING, *MODES, *every, f"best.metric={name}", "hydra.run.dir=run")
    assert done.code == code, done.err
    assert checkpoint.steps(RunFolder(RUN))[-1:] == ([steps] if steps else [])
    if code:
        assert f"best.metric={name} is no column" in done.err and "modes_kl" in done.err
    else:
        best = status.read(RunFolder(RUN))["best"]
        values = {row["step"]: row[name] for row in rows() if row.get(name) is not None}
        assert (best or {}).get("value") == min(values.values(), default=None)


# ---------------------------------------------------------------------------------------- what a metric may give


def test_two_metrics_of_one_column(compose: Any) -> None:
    metric = plain(compose("metric=[modes]"))["metric"]["modes"]
    config = {"architecture": {"class_conditional": False}}
    said = refusal(Metrics, Builder(), {"modes": metric, "again": metric}, config, torch.device("cpu"))
    assert said == "metric=[modes,again] both give the column modes_covered: drop one"


class Given:
    """A metric of one's own that gives these values."""

    columns = ("mine", "other")

    def __init__(self, values: Any):
        self.values = values

    def __call__(self, trained: Any, dataset: Any) -> Any:
        return self.values

    def facts(self) -> dict[str, Any]:
        return {}


def numbers_of(values: Any) -> dict[str, Any]:
    metrics = Metrics(Builder(), None, {"architecture": {"class_conditional": False}}, torch.device("cpu"))
    metrics.chosen["own"] = Given(values)
    deployed: Any = SimpleNamespace(
        seeded=lambda *options: None, averaged=False, batch_size=4, device=torch.device("cpu")
    )
    return metrics(deployed, points(4), 0, print, {})


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5])])
def test_a_metric_of_ones_own_gives_whatever_is_a_number(tmp_path: Path, value: Any) -> None:
    """Torch's and NumPy's too; the row is as if it had given Python's."""
    found = numbers_of({"mine": value, "other": np.int64(3)})
    Rows(tmp_path / "rows").append(found)
    row = json.loads((tmp_path / "rows").read_text("utf-8"))
    assert (row["mine"], row["other"]) == (0.5, 3)


def test_a_metric_that_gives_no_number_is_named() -> None:
    for value, kind in ((torch.zeros(2), "torch.float32 (2,)"), (None, "None"), ([1.0], "a list"), ("high", "a str")):
        said = refusal(numbers_of, {"mine": 0.5, "other": value})
        assert said == f"metric.own gives {kind} as other: return what float() takes"
    assert refusal(numbers_of, 0.5) == "metric.own gives a float: return a dictionary, column: number"
    assert "metric.own gives third, which its `columns` do not name" in refusal(numbers_of, {"third": 1.0})


def test_half_a_row_is_dropped_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for left, kept in ((b"", b""), (b'{"step"', b""), (b"{}\n", b"{}\n"), (b"{}\n{", b"{}\n"), (b"{", b"")):
        path.write_bytes(left)
        Rows(path).append({"step": 2})
        assert path.read_bytes() == kept + b'{"step": 2}\n'
