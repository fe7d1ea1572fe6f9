"""A search with Optuna: it seeks what best.metric says, the way that best.mode says; refused where that is open."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.search import aimed
from gantool.config.compose import composed
from gantool.errors import UsageError

ROOT = Path(__file__).parents[1]
OPTUNA = "hydra/sweeper=optuna"


def told(*overrides: str) -> list[str]:
    return aimed([OPTUNA, *overrides], lambda chosen: composed(*chosen))


def test_optuna_goes_the_way_of_best_mode():
    assert "hydra.sweeper.direction=minimize" in told("best.metric=modes_kl")
    assert "hydra.sweeper.direction=maximize" in told("best.metric=modes_covered", "best.mode=max")


def test_what_an_experiment_seeks_counts(tmp_path: Path):
    """`best` may be set by a recipe, too: the configuration decides, not the command line."""
    asked: list[list[str]] = []

    def recipe(chosen: list[str]) -> dict:
        asked.append(chosen)
        return {"best": {"metric": "fid", "mode": "max"}}

    settings = aimed([OPTUNA, "experiment=mine", "seed=1", "hydra.sweeper.n_trials=3"], recipe)
    assert asked == [["experiment=mine"]]
    assert "hydra.sweeper.direction=maximize" in settings


def test_runs_that_fail_do_not_end_the_search():
    assert "hydra.sweeper.max_failure_rate=1" in told("best.metric=g_loss")
    given = told("best.metric=g_loss", "hydra.sweeper.max_failure_rate=0.5")
    assert not any(one.startswith("hydra.sweeper.max_failure_rate") for one in given)


def test_other_sweepers_are_left_alone():
    def never(chosen: list[str]) -> dict:
        raise AssertionError("nothing is to be composed")

    assert aimed(["seed=1", "best.metric=g_loss"], never) == []
    assert aimed(["hydra/sweeper=basic"], never) == []


def test_both_directions_at_once_are_refused():
    assert "hydra.sweeper.direction=minimize" in told("best.metric=g_loss", "hydra.sweeper.direction=minimize")
    with pytest.raises(UsageError, match="direction follows best.mode=min"):
        told("best.metric=g_loss", "hydra.sweeper.direction=maximize")


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ([], "give best.metric=..."),
        (["best=null"], "give best.metric=..."),
        (["best.metric=g_loss", "best.mode=most"], "best.mode must be one of min, max, got 'most'"),
    ],
)
def test_nothing_is_trained_where_there_is_nothing_to_seek(gantool: Gantool, tmp_path: Path, best: list, said: str):
    result = gantool("train", "-m", OPTUNA, "objective=choice(hinge,wgan)", "steps=5", *best)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert said in result.err
    assert files(tmp_path) == []


@pytest.mark.slow
def test_a_search(tmp_path: Path):
    """With Optuna itself, as the extra installs it: the best of its trials is what the runs say, and a run may fail."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    hydra = [one for one in project["dependencies"] if one.startswith(("hydra", "omegaconf"))]
    there = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", there]
    subprocess.run([*pip, *hydra, *project["optional-dependencies"]["optuna"]], check=True, timeout=1200)
    search = [
        "train", "-m", OPTUNA, "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=3", "best.metric=g_loss",
        "best.mode=max", "optimizer.generator.lr=choice(1e-5,1e-3,1e30)", "seed=range(1,4)", "steps=20",
    ]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "gantool", *search], cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env=os.environ | {"PYTHONPATH": f"{there}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert "Traceback" not in ran.stderr
    assert "Directions: ['maximize']" in ran.stderr
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    found = yaml.safe_load((sweep / "optimization_results.yaml").read_text("utf-8"))
    bests = [json.loads(file.read_text("utf-8")).get("value") for file in sweep.glob("*/status.json")]
    assert found["best_value"] == max(value for value in bests if value is not None)
    assert ran.returncode == (1 if None in bests else 0), ran.stderr
    assert len(re.findall(r"#\d+ :", ran.stdout + ran.stderr)) == 4
