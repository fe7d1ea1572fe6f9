"""A search with Optuna: it seeks what best.metric says, the way that best.mode says; refused where that is open."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf, flag_override

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli import launch, search
from gantool.cli.errors import NO_TRIAL
from gantool.cli.search import aim
from gantool.config.compose import composed
from gantool.errors import UsageError


def sweep(*overrides: str, sweeper: str = "optuna") -> DictConfig:
    """The configuration of a sweep as Hydra hands it over, with what Optuna's plugin has by itself."""
    hydra = {
        "runtime": {"choices": {"hydra/sweeper": sweeper}},
        "overrides": {"hydra": [one for one in overrides if one.startswith("hydra.")]},
        "sweeper": {"direction": "minimize", "max_failure_rate": 0.0},
    }
    plain = composed(*(one for one in overrides if not one.startswith("hydra.")))
    config = OmegaConf.create(plain | {"hydra": hydra})
    return OmegaConf.merge(config, OmegaConf.from_dotlist(hydra["overrides"]["hydra"]))  # type: ignore[return-value]


def told(*overrides: str) -> DictConfig:
    config = sweep(*overrides)
    aim(config)
    return config.hydra.sweeper


def test_optuna_goes_the_way_of_best_mode():
    assert told("best.metric=modes_kl").direction == "minimize"
    assert told("best.metric=modes_covered", "best.mode=max").direction == "maximize"


def test_runs_that_fail_do_not_end_the_search():
    assert told("best.metric=g_loss").max_failure_rate == 1
    for rate in (0.0, 0.5):
        assert told("best.metric=g_loss", f"hydra.sweeper.max_failure_rate={rate}").max_failure_rate == rate


def test_other_sweepers_are_left_alone():
    config = sweep("seed=1", sweeper="basic")
    before = config.copy()
    aim(config)
    assert config == before


def test_both_directions_at_once_are_refused():
    assert told("best.metric=g_loss", "hydra.sweeper.direction=minimize").direction == "minimize"
    with pytest.raises(UsageError, match="direction follows best.mode=min"):
        told("best.metric=g_loss", "hydra.sweeper.direction=maximize")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any sweep is told to be Optuna's, whose plugin need not be here."""
    before = search.aim

    def optuna(config: DictConfig) -> None:
        with flag_override(config, ["struct", "readonly"], False):
            config.hydra.runtime.choices["hydra/sweeper"] = "optuna"
        before(config)

    monkeypatch.setattr(search, "aim", optuna)


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ([], "give best.metric=..."),
        (["best.metric=g_loss", "best.mode=most"], "best.mode must be one of min, max, got 'most'"),
    ],
)
def test_nothing_is_trained_where_there_is_nothing_to_seek(
    gantool: Gantool, tmp_path: Path, chosen: None, best: list, said: str
):
    result = gantool("train", "-m", "objective=choice(hinge,wgan)", "steps=5", *best)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert said in result.err
    assert files(tmp_path) == []


def test_a_search_whose_runs_all_failed_is_a_failed_run(gantool: Gantool, monkeypatch: pytest.MonkeyPatch):
    """Each of them was begun, and is listed."""
    through_hydra = launch.through_hydra

    def all_failed(*args: Any) -> None:
        through_hydra(*args)
        raise ValueError(NO_TRIAL)

    monkeypatch.setattr(launch, "through_hydra", all_failed)
    result = gantool("train", "-m", "seed=1,2", "optimizer.generator.lr=1e30", "dataset=ring", "steps=9", "compile=off")
    assert result.code == 1 and "no trial of the search succeeded" in result.err
    assert "0 done, 2 not done" in result.out and "stopped: jobs" not in result.out
