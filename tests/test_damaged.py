"""Run folders that somebody has changed or broken: sentences instead of tracebacks, and what is whole still serves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cli_helpers import Gantool, gantool_fixture, read_status, train_once  # noqa: F401 (it is a fixture)
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder

TINY = ("dataset=ring", "steps=3", "batch_size=8", "sample_every=1", "logger=[]", "architecture.generator.hidden=[8]")
RUN = RunFolder("run")


@pytest.fixture
def ring(gantool: Gantool) -> Gantool:
    train_once(gantool, *TINY)
    return gantool


def edit(change: Callable[[dict], object]) -> None:
    config = yaml.safe_load(RUN.config.read_text())
    change(config)
    RUN.config.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.update(batch_size="abc"), "batch_size must be a whole number >= 1, got 'abc'"),
        (lambda config: config.update(batch_size=None), "batch_size must be a whole number >= 1, got null"),
        (lambda config: config.update(steps="x"), "steps must be a whole number >= 1 or null, got 'x'"),
        (lambda config: config["architecture"]["generator"].update(hidden=["x"]), "hidden must be a list"),
        (lambda config: config.update(prior=5), "prior holds settings of its own"),
        (lambda config: config.update(dataset=5), "dataset holds settings of its own"),
        (lambda config: config.update(trick=[1]), "trick holds settings of its own"),
        (lambda config: config.update(seed="abc"), "seed must be a whole number in"),
        (lambda config: config.pop("dataset"), "is no configuration of gantool train: it lacks dataset"),
    ],
)
def test_a_configuration_that_no_run_has_is_refused(ring: Gantool, change: Callable[[dict], object], said: str):
    edit(change)
    for command in (["sample"], ["evaluate", "metric=[modes]"], ["export"]):
        refused = ring(*command, "run=run")
        assert refused.code == 2 and said in refused.err and str(RUN.config) in refused.err, refused.err


def test_keys_that_are_newer_than_a_run_may_lack(ring: Gantool):
    edit(lambda config: [config.pop(name) for name in ("compile", "graph", "labels")])
    assert ring("sample", "run=run").code == 0
    assert ring("evaluate", "run=run", "metric=[modes]").code == 0


def test_a_checkpoint_of_too_little_is_sampled_and_not_resumed(ring: Gantool):
    path = checkpoint.choose(RUN, "last")
    state = checkpoint.load(path)
    checkpoint.save(path, {key: value for key, value in state.items() if key not in ("players", "rng")})
    refused = ring("train", "resume=run", "steps=9")
    assert refused.code == 2 and f"{path} is no checkpoint to go on from: it lacks players, rng" in refused.err
    assert ring("sample", "run=run").code == 0
    assert ring("evaluate", "run=run", "metric=[modes]").code == 0


@pytest.mark.parametrize("step", ["null", '"a"', "1.5", "[]"])
def test_a_row_of_no_step_is_named(ring: Gantool, step: str):
    lines = RUN.rows.read_text().splitlines()
    RUN.rows.write_text("\n".join([lines[0], f'{{"step": {step}}}', *lines[1:], ""]))
    refused = ring("train", "resume=run", "steps=9")
    assert refused.code == 2 and f"{RUN.rows} is damaged: line 2 has no number as its step; delete that" in refused.err


def test_a_grid_that_cannot_be_read_is_left_out_of_the_animation(ring: Gantool):
    RUN.grid(1).write_bytes(b"no picture")
    RUN.grid(2).write_bytes(RUN.grid(2).read_bytes()[:300])
    done = ring("train", "resume=run", "steps=5")
    assert done.code == 0 and read_status(RUN.root)["state"] == "done"
    for step in (1, 2):
        assert f"left out of the animation: {RUN.grid(step)}" in done.err.replace(str(Path.cwd()) + "/", "")
    assert RUN.animation.is_file()


def test_a_run_goes_on_without_its_status(ring: Gantool):
    RUN.status.write_text('{"state": ')
    refused = ring("train", "resume=run", "steps=9")
    assert refused.code == 2 and "delete that file: a run goes on from its checkpoints without it" in refused.err
    RUN.status.unlink()
    for where in ("run", str(checkpoint.choose(RUN, "last"))):
        assert ring("sample", f"run={where}", "n=4").code == 0
    resumed = ring("train", "resume=run", "steps=4")
    assert resumed.code == 0 and "resuming at step 3" in resumed.err and read_status(RUN.root)["step"] == 4


def test_runs_behind_links_are_listed_once(ring: Gantool, tmp_path: Path):
    (tmp_path / "outputs" / "deep").mkdir(parents=True)
    for name, target in (("linked", "../run"), ("again", "../run"), ("loop", ".."), ("deep/loop", "../..")):
        (tmp_path / "outputs" / name).symlink_to(target)
    listed = ring("runs").out.splitlines()
    assert len(listed) == 2 and listed[1].startswith("again ")
    assert ring("sample", "n=4").code == 0  # the latest


OWN = """
import sys
from gantool.objectives.non_saturating import NonSaturating


class Leaves(NonSaturating):
    def g_loss(self, *arguments, **more):
        sys.exit(3)
"""


def test_sys_exit_of_a_class_of_ones_own_ends_its_run_only(gantool: Gantool, monkeypatch, tmp_path: Path):
    (tmp_path / "leaving.py").write_text(OWN)
    (tmp_path / "mine" / "objective").mkdir(parents=True)
    (tmp_path / "mine" / "objective" / "leaves.yaml").write_text("_target_: leaving.Leaves\n")
    own = ("--config-dir", "mine", "trust=[leaving]", *TINY)
    failed = gantool("train", *own, "objective=leaves", "hydra.run.dir=run")
    assert failed.code == 1 and "gantool train: sys.exit(3) was called within the run: raise an error" in failed.err
    assert read_status(RUN.root)["state"] == "failed" and "sys.exit(3)" in read_status(RUN.root)["error"]
    swept = gantool("train", "-m", *own, "objective=leaves,hinge")
    assert swept.code == 1 and ": 1 done, 1 not done" in swept.out and "sys.exit(3)" in swept.out
