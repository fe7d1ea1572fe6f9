"""It really learns: judged by what is known of the data, not by the losses. Minutes on a CPU, hence `slow`."""

import json
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_demo_draws_the_digit_it_is_asked_for(gantool: Gantool) -> None:
    """The judge has only seen real digits, and is right on over 95 % of those that it has not seen."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    assert gantool("train", "experiment=demo", "hydra.run.dir=run", "logger=[]").code == 0
    for digit in range(10):
        drawn = gantool("sample", "run=run", "sampler=dump", "format=npz", "n=100", "seed=1", f"classes=[{digit}]",
                        f"out=drawn_{digit}")  # fmt: skip
        assert drawn.code == 0
    pixels, labels = load_digits(return_X_y=True)
    judge = SVC(gamma=0.001).fit(pixels[::2], labels[::2])
    assert (judge.predict(pixels[1::2]) == labels[1::2]).mean() > 0.95
    for digit in range(10):
        with np.load(f"drawn_{digit}.npz") as arrays:
            read = judge.predict(arrays["images"].reshape(100, 64) / 255 * 16)
        assert (read == digit).mean() > 0.9, digit


def test_gradient_penalty_covers_the_ring(gantool: Gantool) -> None:
    assert gantool("train", "experiment=ring_gradient_penalty", "hydra.run.dir=run", "logger=[]").code == 0
    last = json.loads(Path("run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["modes_covered"] == 8
    assert last["modes_high_quality"] > 0.8
    assert last["modes_kl"] < 0.01
