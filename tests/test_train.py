"""gantool train, in process: budgets, what a run writes, best checkpoints, and how a run can end early."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cli_helpers import RUN, TINY, Gantool, files, gantool_fixture, rows  # noqa: F401 (one is a fixture)
from gantool.commands.assembly import Assembly
from gantool.commands.train import Training
from gantool.config.build import Builder
from gantool.engine.loop import Clock, Plan
from gantool.runs import checkpoint, status
from gantool.runs.folder import RunFolder


def signal_after(monkeypatch: pytest.MonkeyPatch, number: int, *signals: signal.Signals) -> Any:
    """The run gets these signals within that step; returns the step as it was."""
    step = Assembly.step

    def interrupted(parts: Assembly) -> None:
        step(parts)
        if parts.meters.steps == number:
            for one in signals:
                signal.raise_signal(one)

    monkeypatch.setattr(Assembly, "step", interrupted)
    return step


@pytest.mark.usefixtures("with_plots")
def test_a_run_writes_what_outputs_readme_promises(gantool: Gantool) -> None:
    done = gantool("train", *TINY, "steps=20", "trick=[ema]", "metric=[modes]", "logger=[tensorboard]")
    assert done.code == 0, done.err
    for name in ("config.yaml", "overrides.yaml", "status.json", "train.log", "metrics.jsonl", "curves.png",
                 "training.webp", "samples/step_00000000.png", "samples/step_00000020.png",
                 "checkpoints/step_00000020.pt"):  # fmt: skip
        assert name in files(RUN), name
    assert any(name.startswith("tensorboard/events") for name in files(RUN))
    told = status.read(RunFolder(RUN))
    assert told["state"] == "done"
    assert told["step"] == 20
    assert told["data"]["size"] == 200
    assert told["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert rows()[-1].keys() >= {"d_loss", "g_loss", "d_accuracy_real", "images_per_second", "modes_covered"}


def test_tensorboard_holds_the_rows_and_the_grids_as_they_are(gantool: Gantool) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert gantool("train", *TINY, "steps=6", "tick_every=2", "logger=[tensorboard]").code == 0
    events = EventAccumulator(str(RUN / "tensorboard"))
    events.Reload()
    seen = [(event.step, event.value) for event in events.Scalars("discriminator/loss")]
    assert [step for step, _ in seen] == [2, 4, 6]
    assert [value for _, value in seen] == pytest.approx([row["d_loss"] for row in rows()])
    shown = {event.step: event.encoded_image_string for event in events.Images("samples")}
    assert shown == {step: (RUN / f"samples/step_{step:08}.png").read_bytes() for step in (0, 6)}


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (["steps=12"], 12),
        (["images=160"], 10),  # batches of 16
        (["images=161"], 11),
        (["images=160", "update.discriminator_steps=5"], 2),  # images shown to D
        (["images=160", "update=extra_gradient"], 5),
        (["steps=7", "images=160"], 7),  # the first budget that is reached
        (["steps=7", "minutes=60"], 7),
    ],
)
def test_budgets(gantool: Gantool, budget: list[str], steps: int) -> None:
    assert gantool("train", *TINY, *budget).code == 0
    assert rows()[-1]["step"] == steps


def test_images_are_counted_as_they_were_shown(gantool: Gantool) -> None:
    """10 steps of 16, then 5 of 32: the rest of a budget is planned for the batches to come."""
    assert gantool("train", *TINY, "images=160", "tick_every=5").code == 0
    assert gantool("train", "resume=run", "images=310", "batch_size=32").code == 0
    assert [(row["step"], row["images"]) for row in rows()] == [(5, 80), (10, 160), (15, 320)]
    told = status.read(RunFolder(RUN))
    assert (told["step"], told["images"], told["reason"]) == (15, 320, "budget of 15 steps spent")
    assert gantool("train", "resume=run", "images=200").code == 0  # spent already
    assert status.read(RunFolder(RUN))["step"] == 15
    assert gantool("train", "resume=run", "images=384", "update.discriminator_steps=2").code == 0
    assert [(row["step"], row["images"]) for row in rows()][-1] == (16, 384)


def test_checkpoints_without_a_count_of_images_go_on(gantool: Gantool) -> None:
    """Those of older versions: as if all steps had shown as many as today's."""
    assert gantool("train", *TINY, "steps=4").code == 0
    path = RunFolder(RUN).checkpoint(4)
    state = checkpoint.load(path)
    assert state.pop("images") == 64
    checkpoint.save(path, state)
    assert gantool("train", "resume=run", "steps=6").code == 0
    assert [row["images"] for row in rows()][-2:] == [80, 96]


def test_a_smaller_budget_than_was_spent_is_told_as_it_is(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=6", "checkpoint_every=6").code == 0
    status.update(RunFolder(RUN), state="interrupted")
    assert gantool("train", "resume=run", "steps=4").code == 0
    assert status.read(RunFolder(RUN))["reason"] == "budget of 4 steps spent"


@pytest.fixture
def a_step_takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`a_step_takes(30)`: seconds, by a clock that nothing else moves on."""

    def set_clock(seconds: float) -> None:
        now, step = [0.0], Assembly.step

        def takes(parts: Assembly) -> None:
            now[0] += seconds
            step(parts)

        monkeypatch.setattr("time.monotonic", lambda: now[0])
        monkeypatch.setattr(Assembly, "step", takes)

    return set_clock


def test_minutes_end_a_run(gantool: Gantool, a_step_takes: Callable[[float], None]) -> None:
    """By a clock that a step moves on by 50 ms: the third passes the budget of 120 ms, and is finished."""
    a_step_takes(0.05)
    assert gantool("train", *TINY, "minutes=0.002", "tick_every=1").code == 0
    assert [row["seconds"] for row in rows()] == pytest.approx([0.05, 0.1, 0.15])


def test_a_slow_run_is_seen_as_often_as_its_time_allows(
    gantool: Gantool, a_step_takes: Callable[[float], None]
) -> None:
    """A step takes half a minute of an hour: 100 rows are due, but there are 120 steps; 40 grids, one every 3 steps."""
    a_step_takes(30)
    assert gantool("train", *TINY, "minutes=60", "keep_last=99").code == 0
    drawn = sorted(int(path.stem.removeprefix("step_")) for path in (RUN / "samples").glob("step_*.png"))
    assert len(rows()) == 100 and rows()[0]["step"] == 2 and rows()[-1]["step"] == 120
    assert drawn == [0, *range(3, 121, 3)] and checkpoint.steps(RunFolder(RUN)) == list(range(12, 121, 12))
    assert [row["step"] for row in rows() if "diversity" in row][-2:] == [117, 120]
    shutil.rmtree(RUN)
    assert gantool("train", *TINY, "minutes=60", "tick_every=50", "checkpoint_every=40", "keep_last=99").code == 0
    assert [row["step"] for row in rows()] == [50, 100, 120]
    assert checkpoint.steps(RunFolder(RUN)) == [40, 80, 120]
    shutil.rmtree(RUN)  # of a budget in steps too a checkpoint is written every ten minutes
    assert gantool("train", *TINY, "steps=300", "keep_last=99").code == 0
    assert checkpoint.steps(RunFolder(RUN)) == sorted({*range(20, 301, 20), *range(30, 301, 30)})


def test_the_speed_in_a_row_leaves_evaluations_out(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a step moves on by a second and an evaluation by an hour: 16 images a second."""
    now = [0.0]

    def takes(seconds: float, call: Any) -> Any:
        def timed(*args: Any) -> Any:
            now[0] += seconds
            return call(*args)

        return timed

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Assembly, "step", takes(1, Assembly.step))
    monkeypatch.setattr(Assembly, "evaluate", takes(3600, Assembly.evaluate))
    few = ("steps=6", "tick_every=1", "evaluate_every=2", "metric=[modes]", "metric.modes.samples=9")
    assert gantool("train", *TINY, *few).code == 0
    assert [row["seconds"] for row in rows()] == [1, 2, 3603, 3604, 7205, 7206]
    assert [row["images_per_second"] for row in rows()] == [16] * 6


def test_rows_are_means_over_their_tick(gantool: Gantool, compose: Any) -> None:
    """Against the same steps played by hand, one at a time."""
    assert gantool("train", *TINY, "steps=6", "tick_every=3", "sample_every=100").code == 0

    parts = Assembly(OmegaConf.to_container(compose(*TINY[:-1], "steps=6"), resolve=True))  # type: ignore[arg-type]
    losses = []
    for _ in range(6):
        parts.source.prepare(1)
        losses.append(parts.update(parts.game, parts.d, parts.g)["g_loss"].item())
    assert [row["g_loss"] for row in rows()] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-6)


def test_best_checkpoint_is_kept_and_chosen(gantool: Gantool) -> None:
    settings = ("steps=12", "tick_every=1", "keep_last=1", "checkpoint_every=12")
    assert gantool("train", *TINY, *settings, "best.metric=g_loss", "best.mode=max").code == 0
    losses = {row["step"]: row["g_loss"] for row in rows()}
    best = max(losses, key=lambda step: losses[step])
    assert status.read(RunFolder(RUN))["best"] == {"step": best, "metric": "g_loss", "value": losses[best]}
    assert checkpoint.steps(RunFolder(RUN)) == sorted({best, 12})
    assert checkpoint.load(checkpoint.choose(RunFolder(RUN), "best"))["step"] == best


def test_best_metric_that_is_none_is_said_at_once(gantool: Gantool) -> None:
    done = gantool("train", *TINY, "steps=4", "best.metric=fidd")
    assert done.code == 2
    assert "best.metric=fidd is no column of metrics.jsonl; choices: " in done.err and "metric=[...]" in done.err
    assert "Traceback" not in done.err


def test_a_resumed_run_says_what_is_different_from_here_on(gantool: Gantool) -> None:
    assert "from here on" not in gantool("train", *TINY, "steps=4", "trick=[top_k]").err
    again = gantool("train", f"resume={RUN}", "steps=6", "batch_size=32", "trick=[ema]", "optimizer.generator.lr=0.01")
    told = [line.partition("from here on ")[2] for line in again.err.splitlines() if "from here on" in line]
    assert {line.partition("=")[0] for line in told} == {
        "steps", "batch_size", "optimizer.generator.lr", "trick.top_k is gone", "trick.ema is new"
    }  # fmt: skip
    assert "steps=6 (was 4)" in told and "optimizer.generator.lr=0.01 (was 0.0002)" in told
    assert "from here on" not in gantool("train", f"resume={RUN}").err


def test_evaluating_nothing_is_told(gantool: Gantool) -> None:
    def said(*settings: str) -> list[str]:
        shutil.rmtree(RUN, ignore_errors=True)
        done = gantool("train", *TINY, "steps=4", *settings)
        assert done.code == 0 and "done at step 4" in done.err
        return [line.split()[1] for line in done.err.splitlines() if "has nothing to measure: choose metrics" in line]

    assert said("evaluate_every=2", "truncation=1") == ["evaluate_every=2", "truncation=1"]
    assert said("evaluate_every=2", "truncation=1", "metric=[modes]") == []


def test_keep_last(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=20", "checkpoint_every=4", "keep_last=3").code == 0
    assert checkpoint.steps(RunFolder(RUN)) == [12, 16, 20]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_resume(
    gantool: Gantool, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    step = signal_after(monkeypatch, 5, number)
    stopped = gantool("train", *TINY, "steps=20", "tick_every=20")
    assert stopped.code == code
    assert f"stopped by {number.name} after step 5" in stopped.err
    assert "gantool train resume=" in stopped.err
    assert status.read(RunFolder(RUN))["state"] == "interrupted"
    assert checkpoint.steps(RunFolder(RUN))[-1] == 5
    monkeypatch.setattr(Assembly, "step", step)
    assert gantool("train", "resume=run").code == 0
    assert [row["step"] for row in rows()] == [20]
    assert status.read(RunFolder(RUN))["state"] == "done"


def test_a_run_with_options_of_ones_own_goes_on_with_the_command_that_is_printed(
    gantool: Gantool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder and trust are in it, quoted for a shell; without the folder the message says what is missing."""
    Path("my conf/trick").mkdir(parents=True)
    Path("my conf/trick/mine.yaml").write_text(
        "# @package trick.mine\n# A test's. Source: gantool.\n_target_: my_trick.Mine\n", "utf-8"
    )
    Path("my_trick.py").write_text("from gantool.game.hooks import Trick\nclass Mine(Trick): ...\n", "utf-8")
    own = ("--config-dir", "my conf", "trick=[mine]", "trust=[my_trick]")
    with monkeypatch.context() as patch:
        signal_after(patch, 5, signal.SIGINT)
        stopped = gantool("train", *own, *TINY, "steps=6")
    assert stopped.code == 130
    printed = stopped.err.partition("go on with: ")[2].splitlines()[0]
    forgotten = gantool("train", "resume=run", "trust=[my_trick]")
    assert forgotten.code == 2 and "unknown option trick=mine, which the earlier run was made with" in forgotten.err
    assert "name its folder again: --config-dir FOLDER" in forgotten.err
    mistyped = gantool("train", "resume=run", "trust=[my_trick]", "--config-dir", "my conf", "trick=[mane]")
    assert mistyped.code == 2 and "did you mean 'mine'?" in mistyped.err
    program, *again = shlex.split(printed)
    assert program == "gantool" and gantool(*again).code == 0
    assert status.read(RunFolder(RUN))["state"] == "done"


def test_interrupted_run_equals_the_uninterrupted_one(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in its rows: the means of a tick survive the interruption."""
    settings = (*TINY, "steps=20", "tick_every=10", "trick=[ema,instance_noise]")
    assert gantool("train", *settings).code == 0
    whole = rows()[0], torch.load(RUN / "checkpoints/step_00000020.pt", weights_only=True)["game"]
    step = signal_after(monkeypatch, 7, signal.SIGINT)
    assert gantool("train", *settings, "hydra.run.dir=other").code == 130
    monkeypatch.setattr(Assembly, "step", step)
    assert gantool("train", "resume=other").code == 0
    resumed = [json.loads(line) for line in Path("other/metrics.jsonl").read_text("utf-8").splitlines()]
    assert {key: resumed[0][key] for key in ("step", "d_loss", "g_loss")} == {
        key: whole[0][key] for key in ("step", "d_loss", "g_loss")
    }
    other = torch.load("other/checkpoints/step_00000020.pt", weights_only=True)["game"]
    assert all(torch.equal(value, other[name]) for name, value in whole[1].items())


def test_divergence_names_the_tensor_the_step_and_the_last_good_checkpoint(
    gantool: Gantool, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Assembly.step

    def poisoned(parts: Assembly) -> None:
        if parts.meters.steps == 6:
            with torch.no_grad():
                next(parts.game.nets["discriminator"].parameters()).fill_(float("nan"))
        step(parts)

    monkeypatch.setattr(Assembly, "step", poisoned)
    failed = gantool("train", *TINY, "steps=20", "tick_every=5", "checkpoint_every=5")
    assert failed.code == 1
    assert "d_loss was no longer finite at step 7" in failed.err
    assert "step_00000005.pt" in failed.err
    assert "Traceback" not in failed.err
    told = status.read(RunFolder(RUN))
    assert told["state"] == "diverged"
    assert "at step 7" in told["reason"]
    assert checkpoint.steps(RunFolder(RUN)) == [5]


def test_weights_that_are_not_finite_are_never_saved(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step before a checkpoint may break the weights without any loss having seen it."""
    step = Assembly.step

    def poisoned(parts: Assembly) -> None:
        step(parts)
        if parts.meters.steps == 10:
            with torch.no_grad():
                parts.game.nets["generator"].body[0].weight[0, 0] = float("inf")

    monkeypatch.setattr(Assembly, "step", poisoned)
    failed = gantool("train", *TINY, "steps=20", "checkpoint_every=5", "tick_every=5")
    assert failed.code == 1
    assert "nets.generator.body.0.weight was no longer finite at step 10" in failed.err
    assert checkpoint.steps(RunFolder(RUN)) == [5]


@pytest.mark.parametrize("last", ["checkpoints/step_00000010.pt", "samples/step_00000006.png"])
def test_disk_full_while_saving_loses_nothing(gantool: Gantool, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    import errno

    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(last):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    failed = gantool("train", *TINY, "steps=20", "checkpoint_every=5", "sample_every=6")
    assert failed.code == 1
    assert "disk full" in failed.err
    assert "Traceback" not in failed.err
    assert files(RUN / "checkpoints") == ["step_00000005.pt"]
    assert status.read(RunFolder(RUN))["state"] == "failed"
    monkeypatch.setattr(os, "replace", replace)
    assert gantool("train", "resume=run").code == 0


def test_a_finished_run_can_be_extended(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=10").code == 0
    again = gantool("train", "resume=run")
    assert again.code == 0
    assert "already finished" in again.err
    assert gantool("train", "resume=run", "steps=15").code == 0
    assert rows()[-1]["step"] == 15


def test_resuming_with_other_data_is_refused(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=4").code == 0
    before = (RUN / "status.json").read_text("utf-8")
    refused = gantool("train", "resume=run", "dataset=digits", "steps=8")
    assert refused.code == 2
    assert "shape" in refused.err
    assert json.loads(before)["state"] == "done"
    assert checkpoint.steps(RunFolder(RUN)) == [3, 4]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["batch_size=300"], "batch_size=300 is larger than the dataset, which has 200 examples"),
        (["objective=wasserstein"], "add trick=[gradient_penalty], [weight_clipping] or [spectral_norm]"),
        (["objective=wasserstein", "trick=[gradient_penalty,label_smoothing]"], "objective wasserstein has none"),
        (["device=cuda:7"], "device=cuda:7"),
        (["device=gpu"], "device"),
        (["precision=fp16"], "precision must be one of auto, fp32, bf16"),
        (["steps=0"], "steps must be a whole number >= 1"),
        (["steps=abc"], "steps must be"),
        (["seed=-1"], "seed must be"),
        (["trick=[ema]", "trick.ema.half_life=0"], "trick.ema.half_life must be a number > 0"),
        (["optimizer.generator.lr=fast"], "optimizer.generator.lr must be a number > 0"),
        (["minutes=1", "optimizer.generator.schedule.kind=linear"], "needs to know its last step"),
        (["metric=[modes]", "dataset=digits", "steps=2"], "metric=[modes] counts the modes of"),
    ],
)
def test_bad_settings_get_one_sentence_and_leave_no_folder(
    gantool: Gantool, settings: list[str], sentence: str
) -> None:
    keep = [item for item in TINY if not ("dataset=digits" in settings and item.startswith("dataset"))]
    refused = gantool("train", *keep, *settings)
    assert refused.code == 2, refused.err
    assert sentence in refused.err
    assert "Traceback" not in refused.err
    assert not RUN.exists()


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("dataset.resolution=30", "architecture=dcgan cannot build 30 x 30 pixels"),
        ("dataset=ring", "this dataset holds points: take architecture=mlp"),
    ],
)
def test_data_that_the_architecture_cannot_build(gantool: Gantool, dataset: str, sentence: str) -> None:
    refused = gantool("train", "architecture=dcgan", dataset, "hydra.run.dir=run")
    assert refused.code == 2
    assert sentence in refused.err
    assert not RUN.exists()


def test_plan_meets_every_event() -> None:
    plan = Plan(steps=20, minutes=None, tick_every=6, sample_every=4, checkpoint_every=10, evaluate_every=None)
    seen, clock = [], Clock()
    while not plan.spent(clock):
        clock.step = plan.next(clock.step)
        seen.append(clock.step)
    assert seen == [4, 6, 8, 10, 12, 16, 18, 20]


def test_every_experiment_builds(compose: Any) -> None:
    """Networks, objective and tricks of each recipe fit each other; its data need not be there."""

    from gantool.commands.planning import plan_of
    from gantool.config.schema import Train, conf_dir
    from gantool.config.signature import check_root
    from gantool.game.types import Images

    for path in (conf_dir() / "experiment").glob("*.yaml"):
        config: Any = OmegaConf.to_container(compose(f"experiment={path.stem}"), resolve=True)
        check_root(config, Train)
        builder = Builder((), plan_of(config, ()).steps)
        dataset = builder.make("dataset", config["dataset"])
        size = (config["batch_size"], *dataset.shape)
        pixels = torch.zeros(size, dtype=torch.uint8 if len(size) == 4 else torch.float32)
        images = Images(pixels, torch.zeros(size[0], dtype=torch.int64), dataset.names)
        source = builder.source(config, images, dataset.flip)
        game = builder.game(config, dataset.shape, len(dataset.names), source)
        assert builder.players(game, config["optimizer"])


# ---------------------------------------------------------------------------------------- what else is promised


def test_status_says_what_a_run_was_made_with(gantool: Gantool) -> None:
    assert gantool("train", *TINY, "steps=2", "seed=7").code == 0
    told = status.read(RunFolder(RUN))
    assert (told["seed"], told["device"], told["precision"]) == (7, "cpu", "fp32")  # points keep float32
    assert len(told["data"]["fingerprint"]) == 16
    assert told["data"]["shape"] == [2]
    assert told["reason"] == "budget of 2 steps spent"
    assert told["started"] <= told["ended"]
    assert told["seconds"] > 0
    assert "git_revision" in told  # null outside a checkout


def test_a_place_where_nobody_may_write(gantool: Gantool) -> None:
    """Below a file, where even root may not; a read-only folder takes the same way."""
    Path("file").write_text("", "utf-8")
    refused = gantool("train", *TINY[:-1], "steps=2", "hydra.run.dir=file/run")
    assert refused.code == 2
    assert "choose another place" in refused.err
    assert "Traceback" not in refused.err


def test_a_second_signal_is_taken_at_its_word_and_loses_nothing(
    gantool: Gantool, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = signal_after(monkeypatch, 7, signal.SIGINT, signal.SIGINT)
    stopped = gantool("train", *TINY, "steps=20", "checkpoint_every=5")
    assert stopped.code == 130
    assert "Traceback" not in stopped.err
    assert checkpoint.steps(RunFolder(RUN)) == [5]
    monkeypatch.setattr(Assembly, "step", step)
    assert gantool("train", "resume=run").code == 0


def test_best_metric_may_be_a_column_of_the_update(gantool: Gantool) -> None:
    settings = ("update=consensus", "best.metric=consensus", "steps=3", "tick_every=1")
    assert gantool("train", *TINY, *settings).code == 0
    assert status.read(RunFolder(RUN))["best"]["value"] == min(row["consensus"] for row in rows())


def test_a_signal_that_comes_again_while_the_step_is_saved(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: to the whole group, and a little later passed on by a parent that is slow: the default would kill."""
    save = Training.checkpoint

    def saving(training: Training) -> None:
        if training.stop.asked():
            signal.raise_signal(signal.SIGTERM)
        save(training)

    def killed(number: int, frame: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(Training, "checkpoint", saving)
    signal_after(monkeypatch, 6, signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, killed)
    try:
        assert gantool("train", *TINY, "steps=12").code == 143
        assert signal.getsignal(signal.SIGTERM) is killed
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status.read(RunFolder(RUN))["state"] == "interrupted" and checkpoint.steps(RunFolder(RUN))[-1] == 6


def test_the_best_survives_an_interruption(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*TINY, "steps=12", "tick_every=1", "keep_last=1", "best.metric=g_loss", "best.mode=max")
    assert gantool("train", *settings).code == 0
    best = status.read(RunFolder(RUN))["best"]
    step = signal_after(monkeypatch, 6, signal.SIGTERM, signal.SIGTERM)  # sent twice at once, it counts once
    assert gantool("train", *settings, "hydra.run.dir=other").code == 143
    monkeypatch.setattr(Assembly, "step", step)
    assert gantool("train", "resume=other").code == 0
    assert status.read(RunFolder("other"))["best"] == best
    assert checkpoint.load(checkpoint.choose(RunFolder("other"), "best"))["step"] == best["step"]
