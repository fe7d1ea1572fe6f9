"""resume=RUN hydra.run.dir=NEW: a run that goes on elsewhere, and leaves what it began from as it was."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from cli_helpers import Gantool, files, gantool_fixture, read_status, train_once  # noqa: F401 (it is a fixture)
from gantool.runs import checkpoint, status
from gantool.runs.folder import RunFolder

TINY = (
    "dataset=ring", "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "batch_size=16",
    "logger=[]", "tick_every=2", "sample_every=2", "checkpoint_every=2", "keep_last=9",
)  # fmt: skip


def seen(run: Path) -> dict[str, str]:
    return {name: sha256((run / name).read_bytes()).hexdigest() for name in files(run) if (run / name).is_file()}


def steps(run: str) -> list[int]:
    return [json.loads(line)["step"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def trained(gantool: Gantool) -> Gantool:
    train_once(gantool, *TINY, "best.metric=d_loss", "best.mode=max", "steps=8")
    return gantool


@pytest.mark.parametrize(("which", "step"), [("last", 8), ("4", 4), ("best", None)])
def test_a_branch_goes_on_from_a_checkpoint_and_leaves_the_run_as_it_was(trained: Gantool, which: str, step: int):
    before, step = seen(Path("run")), step or read_status(Path("run"))["best"]["step"]
    done = trained("train", "resume=run", f"checkpoint={which}", "hydra.run.dir=new/one", "steps=12", "seed=0")
    assert done.code == 0, done.err
    assert f"a branch of run, from its step {step}" in done.err and f"resuming at step {step} in" in done.err
    assert seen(Path("run")) == before
    assert steps("new/one") == [2, 4, 6, 8, 10, 12] == [*steps("run")[: step // 2], *range(step + 2, 13, 2)]
    assert checkpoint.steps(RunFolder("new/one"))[-1] == 12 and "branch of run" in Path("new/one/train.log").read_text()
    first = next(iter(sorted(Path("new/one/samples").iterdir())))
    assert first.read_bytes() == (Path("run/samples") / first.name).read_bytes()


def test_a_branch_has_the_best_of_its_past(gantool: Gantool):
    """Trap: the best of the run by now, which is of a later step."""
    train_once(gantool, *TINY, "best.metric=step", "steps=8")
    assert read_status(Path("run"))["best"]["step"] == 2
    status.update(RunFolder("run"), best={"step": 6, "metric": "step", "value": 6})
    assert gantool("train", "resume=run", "checkpoint=4", "hydra.run.dir=new", "steps=6").code == 0
    assert read_status(Path("new"))["best"]["step"] == 2 and checkpoint.steps(RunFolder("new")) == [2, 4, 6]
    assert gantool("sample", "run=new", "checkpoint=best", "n=1").code == 0


def test_a_best_that_is_gone_is_none(gantool: Gantool):
    train_once(gantool, *TINY, "best.metric=step", "steps=8")
    RunFolder("run").checkpoint(2).unlink()
    assert gantool("train", "resume=run", "steps=10").code == 0
    assert read_status(Path("run"))["best"]["step"] == 10


def test_a_branch_of_a_finished_run_needs_a_budget(trained: Gantool):
    for settings in ((), ("steps=6",)):
        done = trained("train", "resume=run", "hydra.run.dir=new", *settings)
        assert done.code == 2 and "budget of" in done.err and "give a larger one, or an earlier checkpoint=" in done.err
        assert not Path("new").exists()


def test_a_branch_with_the_same_settings_is_the_same_run(trained: Gantool):
    """Bit for bit what the run itself would have become, from any of its steps."""
    assert trained("train", "resume=run", "checkpoint=4", "hydra.run.dir=new", "steps=10").code == 0
    assert trained("train", "resume=run", "steps=10").code == 0
    ours, theirs = (torch.load(RunFolder(run).checkpoint(10), weights_only=True)["game"] for run in ("new", "run"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_folder_that_holds_a_run_is_refused_and_a_refused_branch_leaves_nothing(trained: Gantool):
    assert trained("train", *TINY, "steps=2", "hydra.run.dir=other").code == 0
    before = seen(Path("."))
    held = trained("train", "resume=run", "hydra.run.dir=other", "steps=12")
    assert held.code == 2 and "other holds a run already: give the branch of run another hydra.run.dir" in held.err
    for wrong in ("checkpoint=5", "batch_size=99999999", "optimizer.generator.lr=-1"):
        assert trained("train", "resume=run", wrong, "hydra.run.dir=new/one", "steps=12").code == 2
        assert not Path("new").exists()
    assert trained("train", "resume=run", "hydra.run.dir=new", "--cfg", "job").code == 0
    assert seen(Path(".")) == before


def test_its_own_folder_is_no_branch(trained: Gantool):
    done = trained("train", "resume=run", "hydra.run.dir=./run", "steps=10")
    assert done.code == 0 and "branch" not in done.err and steps("run")[-1] == 10


def test_a_branch_of_a_job_is_not_of_its_sweep(gantool: Gantool):
    assert gantool("train", "-m", *TINY, "steps=4", "seed=1,2", "hydra.sweep.dir=s").code == 0
    before = seen(Path("s"))
    assert gantool("train", "resume=s/seed-1", "hydra.run.dir=s/mine", "steps=6").code == 0
    assert {name: value for name, value in seen(Path("s")).items() if not name.startswith("mine/")} == before
    assert read_status(Path("s/mine"))["branch_of"] == {"run": "s/seed-1", "step": 4}
    assert gantool("train", "resume=s/mine", "steps=8", "batch_size=8").code == 0
    assert "alone" not in read_status(Path("s/mine"))
    for key in ("hydra.sweep.dir", "hydra.run.dir"):
        elsewhere = gantool("train", "-m", "resume=s", f"{key}=other")
        assert elsewhere.code == 2 and f"a sweep goes on in its own folder, s: leave out {key}" in elsewhere.err
        assert not Path("other").exists()
    assert gantool("train", "-m", "resume=s", "hydra.sweep.dir=s").code == 0
    assert json.loads(Path("s/summary.json").read_text())["done"] == 2
