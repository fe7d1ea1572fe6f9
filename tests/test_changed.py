"""Going on with other settings, data or metrics: what changes, what is told, what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from cli_helpers import RUN, TINY, Gantool, files, gantool_fixture, rows  # noqa: F401 (one is a fixture)
from gantool.commands.measuring import Metrics
from gantool.commands.planning import check_classes, check_use
from gantool.config.build import Builder
from gantool.config.compose import settle_paths
from gantool.errors import UsageError
from gantool.game.updates import Alternating
from gantool.runs import checkpoint, status
from gantool.runs.folder import RunFolder
from image_files import BLUE, RED, save
from toys import composed_game, plain


def players() -> dict[str, Any]:
    steps = checkpoint.steps(RunFolder(RUN))
    return torch.load(RunFolder(RUN).checkpoint(steps[-1]), weights_only=True)["players"]


def test_a_changed_learning_rate_is_used(gantool: Gantool) -> None:
    """With a rate of next to nothing the weights stay where they were."""
    assert gantool("train", *TINY, "steps=4", "keep_last=9").code == 0
    rates = [f"optimizer.{player}.lr=1e-30" for player in ("generator", "discriminator")]
    assert gantool("train", "resume=run", "steps=8", *rates).code == 0
    before, after = (torch.load(RunFolder(RUN).checkpoint(step), weights_only=True)["game"] for step in (4, 8))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("nets."))


def test_another_optimizer_starts_afresh_and_says_so(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=4").code == 0
    resumed = gantool("train", "resume=run", "steps=8", "optimizer=rmsprop")
    assert resumed.code == 0, resumed.err
    assert "RMSprop has no use for the state of Adam and starts afresh" in resumed.err
    assert "square_avg" in players()["generator"]["moments"][0]


def test_ema_added_on_resume_averages_from_the_trained_weights(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=4", "keep_last=9").code == 0
    still = ["optimizer.generator.lr=1e-30", "optimizer.discriminator.lr=1e-30"]
    resumed = gantool("train", "resume=run", "steps=6", "trick=[ema]", *still)
    assert resumed.code == 0, resumed.err
    game = torch.load(RunFolder(RUN).checkpoint(6), weights_only=True)["game"]
    for name in (name for name in game if name.startswith("nets.generator.body")):
        assert torch.equal(game[name], game[name.replace("nets.generator", "tricks.ema.average")]), name


@pytest.mark.parametrize("late", [True, False])
def test_a_trick_added_on_resume_keeps_the_time_of_the_run(gantool: Gantool, late: bool) -> None:
    """Noise that is to be gone at step 12 is gone then, though it came at step 4; its own clock would say 8 by then."""
    noise = ["trick=[instance_noise,top_k]", "trick.instance_noise.schedule.begin=6"]
    assert gantool("train", *TINY, "steps=4", *([] if late else noise[:1])).code == 0
    resumed = gantool("train", "resume=run", "steps=12", *noise)
    assert resumed.code == 0, resumed.err
    game = torch.load(RunFolder(RUN).checkpoint(12), weights_only=True)["game"]
    assert int(game["tricks.instance_noise.clock.now"]) == int(game["tricks.top_k.clock.now"]) == 12


@pytest.mark.parametrize(
    "optimizer, option", [("sgd", "momentum=0.5"), ("rmsprop", "centered=true"), ("adamw", "amsgrad=true")],
)  # fmt: skip
def test_an_option_of_the_optimizer_is_switched_on(gantool: Gantool, optimizer: str, option: str) -> None:
    """What it is to remember begins at nothing; what was remembered before stays."""
    off = [f"optimizer.{player}.momentum=0" for player in ("generator", "discriminator")] if optimizer == "sgd" else []
    assert gantool("train", *TINY, "steps=4", f"optimizer={optimizer}", *off).code == 0
    on = [f"++optimizer.{player}.{option}" for player in ("generator", "discriminator")]
    resumed = gantool("train", "resume=run", "steps=8", *on)
    assert resumed.code == 0, resumed.err
    kept = {"momentum": "momentum_buffer", "centered": "grad_avg", "amsgrad": "max_exp_avg_sq"}[option.split("=")[0]]
    moments = players()["generator"]["moments"]
    assert moments and all(bool(each[kept].abs().sum() > 0) for each in moments.values())


def test_a_schedule_that_is_stretched_on_resume_is_told(gantool: Gantool) -> None:
    """One line, and only where a schedule ends with the run and the budget changes."""
    falling = ["optimizer.generator.schedule.kind=linear", "trick=[instance_noise]"]
    told = "optimizer.generator.schedule, trick.instance_noise.schedule"
    assert gantool("train", *TINY, "steps=4", *falling).code == 0
    again = gantool("train", "resume=run", "steps=8").err
    assert again.count("follows the new budget") == 1 and told in again
    assert "follows" not in gantool("train", "resume=run", "steps=8", "checkpoint=4").err
    ends = ["optimizer.generator.schedule.end=8", "trick.instance_noise.schedule.end=8"]
    assert "follows" not in gantool("train", "resume=run", "steps=12", *ends).err


@pytest.mark.parametrize("change", ["trick=[spectral_norm]", "architecture.generator.hidden=[16]"])
def test_other_networks_are_refused_and_nothing_is_lost(gantool: Gantool, change: str) -> None:
    assert gantool("train", *TINY, "steps=4").code == 0
    config = (RUN / "config.yaml").read_text("utf-8")
    refused = gantool("train", "resume=run", "steps=8", change)
    assert refused.code == 2
    assert "the saved networks are not those of this configuration" in refused.err
    assert (RUN / "config.yaml").read_text("utf-8") == config
    assert gantool("train", "resume=run", "steps=8").code == 0


def test_a_finished_run_keeps_its_configuration(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=4").code == 0
    config = (RUN / "config.yaml").read_text("utf-8")
    assert gantool("train", "resume=run", "optimizer.generator.lr=0.05").code == 0
    assert (RUN / "config.yaml").read_text("utf-8") == config


def test_a_run_that_is_running_is_left_alone(gantool: Gantool) -> None:
    """However often it is tried: neither its status nor its log is touched."""
    assert gantool("train", *TINY, "steps=4").code == 0
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        status.update(RunFolder(RUN), state="running", pid=other.pid, born=None)
        before = [(RUN / name).read_bytes() for name in ("status.json", "train.log")]
        for _ in range(2):
            refused = gantool("train", "resume=run", "steps=8")
            assert refused.code == 2
            assert f"is in use by process {other.pid}" in refused.err
        assert [(RUN / name).read_bytes() for name in ("status.json", "train.log")] == before
        other.communicate(b"\n")
    assert gantool("train", "resume=run", "steps=8").code == 0


def test_a_run_keeps_to_its_own_data_wherever_it_is_resumed(
    gantool: Gantool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`images` is another folder there, and the cache is given relative to here too."""
    for place in ("here", "there"):
        for number in range(4):
            save(tmp_path / place / "images" / f"{number}.png", RED if place == "here" else BLUE)
    monkeypatch.chdir(tmp_path / "here")
    given = ("dataset=folder", "dataset.path=images", "dataset.resolution=8", "dataset.cache=cache", "logger=[]")
    given += ("batch_size=2", "steps=2")
    assert gantool("train", *given, f"hydra.run.dir={tmp_path}/run").code == 0
    assert gantool("train", "-m", *given, "seed=1", "hydra.sweep.dir=sweep").code == 0
    monkeypatch.chdir(tmp_path / "there")
    resumed = gantool("train", f"resume={tmp_path}/run", "steps=3")
    assert resumed.code == 0 and "the data is not what" not in resumed.err
    assert files(tmp_path / "there") == ["images", *(f"images/{number}.png" for number in range(4))]
    swept = gantool("train", "-m", "resume=../here/sweep", "steps=3")
    assert swept.code == 0 and "the data is not what" not in swept.err and "from here on dataset" not in swept.err
    saved = yaml.safe_load((tmp_path / "run/config.yaml").read_text("utf-8"))["dataset"]
    assert (saved["path"], saved["cache"]) == (f"{tmp_path}/here/images", f"{tmp_path}/here/cache")


def test_paths_of_other_datasets_are_their_own_affair() -> None:
    cfg = OmegaConf.create({
        "dataset": {"_target_": "mine.Points", "path": "s3://bucket"}, "inception_weights": "w.pth",
        "metric": {"fid": {"weights": "~/v.pth"}},
    })  # fmt: skip
    settle_paths(cfg, {})
    assert cfg.dataset.path == "s3://bucket"
    assert cfg.inception_weights == os.path.abspath("w.pth")
    assert cfg.metric.fid.weights == os.path.expanduser("~/v.pth")


def test_other_classes_than_those_that_were_told_are_refused() -> None:
    """`train` and `val` were classes of such folders once; where the net is not told the class it does not matter."""
    saved = {"names": ["train", "val"], "class_counts": [4, 2]}
    with pytest.raises(UsageError, match="with the classes train, val, and the data now has a, b"):
        check_classes(saved, ("a", "b"))
    check_classes(saved, ("train", "val"))
    check_classes(saved | {"class_counts": []}, ("a", "b"))


@pytest.mark.parametrize("spec", [["resume=run/checkpoints/step_00000004.pt"], ["resume=run", "checkpoint=4"]])
def test_going_on_from_an_earlier_checkpoint(gantool: Gantool, spec: list[str]) -> None:
    """The later ones are forgotten, and a resume after that goes on from the last again."""
    assert gantool("train", *TINY, "steps=12", "checkpoint_every=4", "keep_last=9", "tick_every=4").code == 0
    assert gantool("train", *spec, "steps=6").code == 0
    assert checkpoint.steps(RunFolder(RUN)) == [4, 6]
    assert [row["step"] for row in rows()] == [4, 6]
    assert gantool("train", "resume=run", "steps=8").code == 0
    assert checkpoint.steps(RunFolder(RUN)) == [4, 6, 8]


@pytest.mark.parametrize(("best", "metric"), [("fid", "fid"), ("modes_kl", "modes"), ("kid_sd", "kid")])
def test_best_metric_of_a_metric_that_is_not_chosen_is_told_at_once(gantool: Gantool, best: str, metric: str) -> None:
    failed = gantool("train", *TINY, "steps=8", f"best.metric={best}")
    assert failed.code == 2 and not RUN.exists()
    assert (
        f"best.metric={best} is a column of a metric that is not chosen: choose it too, metric=[{metric}]" in failed.err
    )


def test_best_metric_may_be_any_column_of_what_is_chosen(compose: Any) -> None:
    """stacked_modes has columns of the names of those of modes, and a metric of one's own any."""
    config = plain(compose("metric=[stacked_modes]", "dataset=stacked_mnist", "best.metric=modes_covered"))
    metrics = Metrics(Builder(), config["metric"], config, torch.device("cpu"))
    played = composed_game(compose)
    d, _ = Builder().players(played, config["optimizer"])
    check_use(config, Alternating(), played, d, metrics.columns)
    check_use(config, Alternating(), played, d, ["fid_clip", "modes_covered"])
    with pytest.raises(UsageError, match="choose it too, metric="):
        check_use(config, Alternating(), played, d, ["fid_clip"])


def test_misspelt_best_metric_is_told_after_one_step(gantool: Gantool) -> None:
    settings = ("steps=8", "tick_every=8", "metric=[modes]", "metric.modes.samples=10", "best.metric=modes_coverd")
    failed = gantool("train", *TINY, *settings)
    assert failed.code == 2
    assert "best.metric=modes_coverd is no column" in failed.err
    assert checkpoint.steps(RunFolder(RUN)) == [] and not RunFolder(RUN).rows.is_file()


def test_another_best_metric_begins_anew(gantool: Gantool) -> None:
    """The best of one column says nothing of another's, nor the least of the greatest."""
    every = ("steps=6", "tick_every=2", "checkpoint_every=2", "keep_last=9")
    done = gantool("train", *TINY, *every, "best.metric=step")
    assert done.code == 0 and re.search(r"best +\S+/run/checkpoints/step_00000002.pt  step 2\n", done.err)
    assert status.read(RunFolder(RUN))["best"] == {"step": 2, "metric": "step", "value": 2}
    assert gantool("train", f"resume={RUN}", "steps=10", "best.metric=images").code == 0
    assert status.read(RunFolder(RUN))["best"] == {"step": 8, "metric": "images", "value": 8 * 16}
    assert gantool("train", f"resume={RUN}", "steps=12", "best.mode=max").code == 0
    assert status.read(RunFolder(RUN))["best"] == {"step": 12, "metric": "images", "value": 12 * 16}


def test_changed_data_is_told(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=4").code == 0
    resumed = gantool("train", "resume=run", "steps=8", "dataset.seed=5")
    assert resumed.code == 0
    assert "the data is not what this run was trained on" in resumed.err
