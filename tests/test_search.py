"""A search with Optuna: it seeks what best.metric says, the way that best.mode says; refused where that is open."""

from pathlib import Path

import pytest

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.errors import NO_TRIAL, Asked, explain
from gantool.cli.search import aimed
from gantool.config.compose import composed
from gantool.errors import UsageError

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


def test_a_search_whose_runs_all_failed_is_a_failed_run():
    report = explain(ValueError(NO_TRIAL), Asked())
    assert report is not None and report.code == 1 and "no trial of the search succeeded" in report.message
