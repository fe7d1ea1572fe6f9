"""Many runs at once: their folders, what a failure does to the others, the summary, and running the rest again."""

import io
import json
import math
import platform
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from cli_helpers import Gantool, fake_train, files, gantool_fixture, read_status  # noqa: F401 (it is a fixture)
from gantool.cli.prepared import _last_of_each
from gantool.config.resolvers import LONGEST, slug
from gantool.runs import status
from gantool.runs.call import Call
from gantool.runs.folder import RunFolder
from gantool.runs.sweep import Figure, Job, Setting, Summary, _fold, summarise
from gantool.runs.told import markdown, show


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.commands.train.run", fake_train)


def sweep_folder(base: Path) -> Path:
    (folder,) = (base / "outputs" / "multirun").iterdir()
    return folder


def jobs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# ---------------------------------------------------------------------------------------------- names of folders


@pytest.mark.parametrize(
    ("overrides", "fixed", "name"),
    [
        (["objective=wgan_gp", "seed=1", "trick=[ema]"], [], "objective-wgan_gp_seed-1_trick-ema"),
        (["trick=[]", "seed=2"], [], "seed-2_trick-none"),
        (["trick=[label_smoothing,ema]"], [], "trick-label_smoothing+ema"),
        (["steps=10", "optimizer.generator.lr=1e-4"], ["steps"], "optimizer.generator.lr-1e-4"),
        (["steps=10", "seed=1"], ["steps", "seed"], "seed-1"),
        (["steps=10"], ["steps"], "defaults"),
    ],
)
def test_names_are_readable(overrides: list[str], fixed: list[str], name: str):
    assert slug(overrides, fixed) == name


def test_order_of_the_settings_does_not_matter():
    assert slug(["seed=1", "objective=hinge"]) == slug(["objective=hinge", "seed=1"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["trick=[ema]"], ["trick=ema"]),
        (["trick=[]"], ["trick=[none]"]),
        (["x=a b"], ["x=a-b"]),
        (["x=[a]"], ["x=a"]),
        (["x=ä"], ["x=ö"]),
        (["a=1_b-2", "b=3"], ["a=1", "b=2_b-3"]),
        ([f"x={'a' * 200}1"], [f"x={'a' * 200}2"]),
        (["++x=1"], ["x=1"]),
        (["dataset.path=/a/b"], ["dataset.path=/a-b"]),
    ],
)
def test_different_settings_never_share_a_name(one: list[str], other: list[str]):
    names = slug(one), slug(other)
    assert names[0] != names[1]
    assert all(re.fullmatch(r"[A-Za-z0-9_.+-]+", name) and len(name) <= LONGEST for name in names)


def test_any_setting_gives_a_plain_name():
    letters = random.Random(0)
    for _ in range(300):
        value = "".join(letters.choice("ab1_-.=[],(){}'\" /\\~$#ü") for _ in range(letters.randrange(1, 160)))
        assert re.fullmatch(r"[A-Za-z0-9_.+-]+", slug([f"key={value}", "seed=1"])), value


# ---------------------------------------------------------------------------------------------- a sweep


def test_sweep_folds_seeds_and_a_failure_stops_nobody(gantool: Gantool, fake: None, tmp_path: Path):
    result = gantool("train", "-m", "seed=1,666,4", "trick=[],[ema]", "steps=5", "hydra.sweeper.max_batch_size=1")
    folder = sweep_folder(tmp_path)
    assert result.code == 1 and "Traceback" not in result.err
    assert jobs(folder) == sorted(f"seed-{seed}_trick-{trick}" for seed in (1, 666, 4) for trick in ("none", "ema"))
    assert re.search(r"^setting +done +fid +d_loss +g_loss$", result.out, re.MULTILINE)
    mean, sd = statistics.fmean([1, 4]), statistics.stdev([1, 4])
    row = rf"trick=\[ema\] +2/3 +{10 * mean:.4g} ± {10 * sd:.2g} +{mean:.4g} ± {sd:.2g} +0.5 ± 0"
    assert re.search(row, result.out)
    assert ": 4 done, 2 not done" in result.out
    assert "seed-666_trick-ema, seed-666_trick-none" in result.out and "internal error: ValueError" in result.out
    assert f"gantool train -m resume={folder.relative_to(tmp_path)}" in result.out


def test_failed_job_says_why_in_its_own_folder(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "-m", "seed=1,666")
    failed = sweep_folder(tmp_path) / "seed-666"
    assert read_status(failed)["state"] == "failed" and "what a bug says" in read_status(failed)["error"]
    log = (failed / "train.log").read_text("utf-8")
    assert "internal error: ValueError: what a bug says" in log and "in fake_train" in log


def test_a_table_that_cannot_be_shown_is_no_mistake_of_the_users(gantool: Gantool, fake: None, monkeypatch):
    monkeypatch.setattr("gantool.runs.told.show", lambda summary: json.loads("no JSON"))
    result = gantool("train", "-m", "seed=1,2")
    assert result.code == 1 and "JSONDecodeError: Expecting value" in result.err and "Traceback" not in result.err


def test_an_ascii_terminal_is_shown_the_table_too(gantool: Gantool, fake: None, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s").code == 0
    terminal.flush()
    assert re.search(rb"fid.*\n.*\d \? \d", terminal.buffer.getvalue())
    assert "±" in Path("s/summary.md").read_text("utf-8")


def test_resume_of_a_sweep_below_home(gantool: Gantool, fake: None, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s").code == 0
    again = gantool("train", "-m", "resume='~/s'")
    assert (again.code, "2 done" in again.out) == (0, True), again.err
    assert not Path("~").exists()


def test_summary_files(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "-m", "seed=1,3", "objective=minimax,wgan")
    folder = sweep_folder(tmp_path)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["done"] == 4 and summary["not_done"] == []
    figures = {setting["name"]: setting["figures"] for setting in summary["settings"]}
    assert figures["objective=wgan"]["fid"] == {"mean": 20.0, "sd": pytest.approx(200**0.5), "jobs": 2}
    assert "| objective=minimax | 2/2 | 20 ± 14 | 2 ± 1.4 |" in (folder / "summary.md").read_text("utf-8")


def test_resume_runs_only_what_is_not_done(gantool: Gantool, fake: None, monkeypatch, tmp_path: Path):
    gantool("train", "-m", "seed=1,666,2", "objective=minimax", "hydra.verbose=false")
    folder = sweep_folder(tmp_path)

    def mended(cfg):
        cfg.seed = 3 if cfg.seed == 666 else cfg.seed
        return fake_train(cfg)

    monkeypatch.setattr("gantool.commands.train.run", mended)
    result = gantool("train", "-m", "resume=latest")
    assert result.code == 0 and result.err.count("already finished") == 2
    assert ": 3 done, 0 not done" in result.out and "run the rest again" not in result.out
    assert [read_status(folder / name)["runs"] for name in jobs(folder)] == [1, 1, 1]


def test_seeds_can_be_added_and_a_change_runs_again(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "-m", "seed=1", "objective=minimax,wgan", "steps=5")
    folder = sweep_folder(tmp_path)
    result = gantool("train", "-m", f"resume={folder}", "seed=1,2")
    assert result.code == 0 and result.err.count("already finished") == 2 and len(jobs(folder)) == 4
    result = gantool("train", "-m", f"resume={folder}", "steps=9")
    assert "already finished" not in result.err and len(jobs(folder)) == 4
    assert read_status(folder / "objective-wgan_seed-1")["runs"] == 2


def test_the_last_of_a_key_that_is_given_twice_is_what_is_compared(gantool: Gantool, fake: None, tmp_path: Path):
    given = ("steps=3", "seed=7", "objective=hinge", "objective=minimax,wgan", "seed=5,6", "seed=1,2", "steps=5")
    assert gantool("train", "-m", *given).code == 0
    folder = sweep_folder(tmp_path)
    assert jobs(folder) == sorted(f"objective-{name}_seed-{seed}" for name in ("minimax", "wgan") for seed in (1, 2))
    assert all("steps=5" in read_status(folder / name)["overrides"] for name in jobs(folder))


def test_the_last_is_taken_where_it_stands():
    given = ["best.metric=a", "best={metric:b,mode:min}", "seed=1,2", "best.metric=c", "++seed=3", "~trick", "~trick"]
    assert _last_of_each(given) == ["best={metric:b,mode:min}", "best.metric=c", "++seed=3", "~trick", "~trick"]


def test_jobs_that_others_are_training_are_left_alone(gantool: Gantool, fake: None, tmp_path: Path):
    """Whether the sweep is resumed or another one is sent into its folder; the rest is done, job by job too."""
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s").code == 0
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        status.update(RunFolder("s/seed-1"), state="running", pid=other.pid, born=None, host=platform.node())
        before = Path("s/seed-1/status.json").read_bytes()
        for again, done in (
            (["resume=s", "steps=7"], 1),
            (["hydra.sweep.dir=s", "seed=1,3,4", "hydra.sweeper.max_batch_size=1"], 2),
        ):
            result = gantool("train", "-m", *again)
            assert f"s/seed-1 is in use by process {other.pid}" in result.err and result.code == 1
            assert f": {done} done, 1 not done" in result.out
            assert re.search(rf"busy +seed-1\n +s/seed-1 is in use by process {other.pid}", result.out)
            assert Path("s/seed-1/status.json").read_bytes() == before
        other.communicate(b"\n")
    assert jobs(Path("s")) == ["seed-1", "seed-2", "seed-3", "seed-4"]


def test_hint_keeps_what_a_resume_does_not_replay(gantool: Gantool, fake: None):
    out = gantool("train", "-m", "seed=1,666", "trust=[my gan]", "hydra.sweeper.max_batch_size=1").out
    assert re.search(r"again: gantool train -m resume=\S+ 'trust=\[my gan\]' hydra.sweeper.max_batch_size=1", out)


def test_ctrl_c_stops_the_whole_sweep(gantool: Gantool, fake: None, tmp_path: Path):
    result = gantool("train", "-m", "seed=1,130,2")
    folder = sweep_folder(tmp_path)
    assert result.code == 130 and jobs(folder) == ["seed-1", "seed-130"]
    assert read_status(folder / "seed-130")["state"] == "interrupted"
    assert ": 1 done, 1 not done" in result.out and "jobs that had not begun are not listed" in result.out


def test_reused_folder_counts_only_its_own_jobs(gantool: Gantool, fake: None):
    gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    assert ": 1 done, 0 not done" in gantool("train", "-m", "seed=3", "hydra.sweep.dir=s").out


def test_killed_job_is_not_done(tmp_path: Path):
    folder = RunFolder(tmp_path / "seed-1")
    folder.root.mkdir()
    status.update(folder, state="running", overrides=["seed=1"], pid=2**22 + 1, host=platform.node())
    Call(tmp_path, "x").note(folder.root)
    summary = summarise(tmp_path, "x", "again")
    assert [job.state for job in summary.not_done] == ["killed"] and "killed" in markdown(summary)


def test_sweep_that_never_began_leaves_nothing(gantool: Gantool, tmp_path: Path):
    assert gantool("train", "-m", "seed=1,2", "dataset=digits,nope").code == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hydra: {overrides: {task: ['seed=1,2', 'x=${oc.env:SECRET}']}}", "interpolation"),
        ("hydra: {overrides: {task: 3}}", "no list of overrides"),
        ("hydra: !!python/object/apply:os.mkdir [planted]", "damaged"),
    ],
)
def test_foreign_sweep_is_refused(gantool: Gantool, tmp_path: Path, text: str, said: str):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "multirun.yaml").write_text(text, "utf-8")
    result = gantool("train", "-m", "resume=s")
    assert result.code == 2 and said in result.err and not (tmp_path / "planted").exists()


def test_settings_of_hydra_and_trust_are_not_replayed(gantool: Gantool, fake: None, tmp_path: Path):
    (tmp_path / "s").mkdir()
    task = ["seed=1,2", "trust=[evil]", "hydra.sweeper.max_batch_size=1", "hydra/launcher=evil"]
    (tmp_path / "s" / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": task}}}), "utf-8")
    assert gantool("train", "-m", "resume=s").code == 0
    assert read_status(tmp_path / "s" / "seed-2")["overrides"] == ["seed=2"]


def test_a_sweep_is_not_a_run_nor_the_other_way_round(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "-m", "seed=1", "hydra.sweep.dir=s")
    assert "is a sweep: gantool train -m resume=s" in gantool("train", "resume=s").err
    assert "is one run: leave out -m" in gantool("train", "-m", "resume=s/seed-1").err


def test_a_changed_value_of_what_is_compared_is_refused(gantool: Gantool, fake: None, tmp_path: Path):
    """It would make jobs of other names, which the next summary counts beside the old ones."""
    gantool("train", "-m", "seed=1", "objective=minimax,wgan")
    folder = sweep_folder(tmp_path)
    for change in ("objective=minimax", "seed=1"):
        refused = gantool("train", "-m", f"resume={folder}", change)
        key = change.partition("=")[0]
        assert (refused.code, len(jobs(folder))) == (2 if key == "objective" else 0, 2)
        assert (f"{key} is what {folder} compares" in refused.err) == (key == "objective")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["seed=1,x"], "seed must be a whole number in [0, 2**32), got 'x'"),
        (["seed=1,2", "steps=ten"], "steps must be a whole number >= 1 or null, got 'ten'"),
        (["batch_size=choice(8,0)"], "batch_size must be a whole number >= 1, got 0"),
        (["precision=fp32,fp16"], "precision must be one of auto, fp32, bf16, got 'fp16'"),
    ],
)
def test_a_bad_value_is_refused_before_the_first_job(gantool: Gantool, fake: None, tmp_path: Path, settings, said):
    refused = gantool("train", "-m", *settings)
    assert refused.code == 2 and said in refused.err and not (tmp_path / "outputs").exists()


def test_good_values_and_groups_are_not_refused(gantool: Gantool, fake: None, tmp_path: Path):
    good = ("seed=range(1,3)", "minutes=null,2", "architecture=mlp", "hydra.sweep.dir=good")
    assert gantool("train", "-m", *good).code == 0
    groups = ("optimizer=glob(*, exclude=[*_*,*w,r*,t*])", "trick=[],[ema]")
    assert gantool("train", "-m", *groups).code == 0 and len(jobs(sweep_folder(tmp_path))) == 4


def test_what_is_infinite_in_each_run_has_a_column(gantool: Gantool, tmp_path: Path):
    """modes_kl, where no sample is a good one."""
    modes = ("metric=[modes]", "metric.modes.least=99", "metric.modes.samples=50")
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s", "compile=off", *modes, *TINY).code == 0
    heading, _, row = (tmp_path / "s/summary.md").read_text("utf-8").splitlines()[2:5]
    cells = dict(zip(heading.split(" | "), row.split(" | "), strict=True))
    assert cells["modes_kl"] == "not finite"


def test_no_name_or_heading_is_cut(capsys: pytest.CaptureFixture[str]):
    figures = {f"column_{number}_of_a_name_that_takes_room": Figure(float(number), None, 1) for number in range(12)}
    names = [f"{'optimizer.generator.lr=0.0001 ' * 6}seed={number}" for number in range(2)]
    show(Summary("s", "", False, [Setting(name, 1, 1, figures) for name in names], []))
    heading, *lines = capsys.readouterr().out.splitlines()
    assert all(name in heading for name in figures)
    assert [line.startswith(name) for name, line in zip(names, lines, strict=False)] == [True, True]


def test_what_only_some_seeds_have_a_number_for_is_told(tmp_path: Path):
    """A figure that is infinite, such as modes_kl of a generator without a good sample, is null."""
    jobs = [Job(f"seed-{seed}", "done", [f"seed={seed}"], row, "") for seed, row in
            enumerate(({"kl": 2.0, "fid": 1.0}, {"kl": math.inf, "fid": 3.0}, {"fid": 5.0}))]  # fmt: skip
    setting = _fold("as given", jobs)
    assert [setting.cell(column) for column in ("kl", "fid", "other")] == ["2 (1 of 3)", "3 ± 2", ""]
    assert _fold("as given", jobs[1:2]).cell("kl") == "not finite"


def test_a_job_that_was_trained_alone_with_other_settings_is_a_row_of_its_own(gantool: Gantool, fake: None):
    """Also after the sweep has gone on with it: what it has learnt is of both."""
    gantool("train", "-m", "objective=hinge,wgan", "seed=1,2", "hydra.sweep.dir=s")
    job = "resume=s/objective-hinge_seed-1"
    assert gantool("train", job, "device=cpu", "keep_last=3").code == 0
    assert "alone" not in read_status(Path("s/objective-hinge_seed-1"))
    assert gantool("train", job, "optimizer.generator.lr=0.01").code == 0
    done = gantool("train", "-m", "resume=s")
    rows = {row["name"]: row["jobs"] for row in json.loads(Path("s/summary.json").read_text())["settings"]}
    alone = "objective=hinge (meanwhile alone with optimizer.generator.lr=0.01)"
    assert done.code == 0 and rows == {alone: 1, "objective=hinge": 1, "objective=wgan": 2}, rows


def test_metrics_stand_before_losses_and_the_best_beside_the_last(gantool: Gantool):
    tiny = ["dataset=ring", "steps=6", "batch_size=8", "sample_every=2", "tick_every=2", "logger=[]"]
    best = ["best.metric=diversity", "best.mode=max"]
    assert gantool("train", "-m", *tiny, *best, "seed=1,2", "hydra.sweep.dir=s").code == 0
    heading = [cell.strip() for cell in Path("s/summary.md").read_text().splitlines()[2].split("|")[1:-1]]
    assert heading[-2:] == ["d_loss", "g_loss"]
    place = heading.index("diversity")
    assert heading[place + 1 : place + 3] == ["diversity best", "diversity best at step"]
    figures = json.loads(Path("s/summary.json").read_text())["settings"][0]["figures"]
    told = [read_status(Path(f"s/seed-{seed}"))["best"] for seed in (1, 2)]
    for name, key in (("diversity best", "value"), ("diversity best at step", "step")):
        assert figures[name]["mean"] == pytest.approx(statistics.mean(one[key] for one in told))


def test_real_runs(gantool: Gantool, tmp_path: Path):
    """The command itself: two tiny runs and one that is refused."""
    tiny = ["dataset=ring", "steps=3", "batch_size=8", "sample_every=3", "logger=[]", "metric=[]"]
    result = gantool("train", "-m", "objective=non_saturating,wasserstein", "seed=1,2", *tiny)
    folder = sweep_folder(tmp_path)
    assert result.code == 1 and ": 2 done, 2 not done" in result.out and "needs a critic of bounded slope" in result.out
    for seed in (1, 2):
        done = folder / f"objective-non_saturating_seed-{seed}"
        assert read_status(done)["state"] == "done" and (done / "checkpoints" / "step_00000003.pt").is_file()
        assert "done at step 3" in (done / "train.log").read_text("utf-8")
    assert read_status(folder / "objective-wasserstein_seed-1")["state"] == "failed"
    again = gantool("train", "-m", f"resume={folder}", "objective=non_saturating,wgan_gp")
    assert again.code == 0 and again.err.count("already finished") == 2 and ": 4 done, 0 not done" in again.out


# ---------------------------------------------------------------------------------------------- what others have done


def contents(folder: Path) -> dict[str, bytes]:
    """All but logs and what tells of the whole sweep."""
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.glob("*/**/*"))
        if path.is_file() and path.suffix != ".log"
    }


TINY = ("dataset=ring", "steps=3", "batch_size=8", "sample_every=3", "logger=[]")


def test_a_finished_sweep_keeps_its_settings(gantool: Gantool, tmp_path: Path):
    """Neither settings that train nothing nor such as are refused change what a finished job says of itself."""
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s", *TINY).code == 0
    before = contents(tmp_path / "s")
    result = gantool("train", "-m", "resume=s", "optimizer.generator.lr=0.5", "batch_size=4")
    assert result.code == 0 and result.err.count("step 3: its budget of 3 steps is spent: give a larger one") == 2
    assert contents(tmp_path / "s") == before and ": 2 done, 0 not done" in result.out
    result = gantool("train", "-m", "resume=s", "optimizer.generator.lr=-1")
    assert result.code == 1 and ": 0 done, 2 not done" in result.out
    assert re.search(r"failed +seed-1, seed-2\n +optimizer.generator.lr must be a number > 0, got -1", result.out)
    assert contents(tmp_path / "s") == before
    result = gantool("train", "-m", "resume=s", "steps=4", "optimizer.generator.lr=1e-3")
    assert result.code == 0 and ": 2 done" in result.out and read_status(tmp_path / "s" / "seed-1")["step"] == 4
    assert list((tmp_path / "s").glob(".*")) == []


@pytest.mark.parametrize(("subdir", "trained"), [("run", []), ("${hydra.job.name}", ["train"])])
def test_jobs_do_not_share_a_folder(gantool: Gantool, fake: None, tmp_path: Path, subdir: str, trained: list[str]):
    result = gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s", f"hydra.sweep.subdir={subdir}")
    assert result.code == (1 if trained else 2) and "two jobs share" in result.err
    assert [path.name for path in tmp_path.glob("s/*/")] == trained
    assert [read_status(tmp_path / "s" / name)["overrides"][-1] for name in trained] == ["seed=1"] * len(trained)


def test_a_job_that_is_asked_for_twice_is_trained_once(gantool: Gantool, fake: None):
    result = gantool("train", "-m", "seed=1,1,2")
    assert result.code == 0 and "2 done" in result.out, result.err


def test_one_settled_folder_is_enough_for_one_job(gantool: Gantool, fake: None):
    assert gantool("train", "-m", "seed=1", "hydra.sweep.dir=s", "hydra.sweep.subdir=run").code == 0
    assert gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=t", "hydra.sweep.subdir='${hydra.job.num}'").code == 0


def test_each_of_two_calls_tells_of_all_its_jobs(gantool: Gantool, monkeypatch, tmp_path: Path):
    """The second begins when the first has trained a job, and passes over that one."""
    told = []

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import cli_helpers, gantool.commands.train as train;"
        "train.run = cli_helpers.fake_train; from gantool.cli.dispatch import main; sys.exit(main(sys.argv[2:]))"
    )
    other = [sys.executable, "-c", code, str(Path(__file__).parent), "train", "-m", "seed=1,3", "hydra.sweep.dir=s"]

    def train(cfg):
        if cfg.seed == 2:
            told.append(subprocess.run(other, capture_output=True, text=True, check=True).stdout)
        return fake_train(cfg)

    monkeypatch.setattr("gantool.commands.train.run", train)
    assert ": 2 done, 0 not done" in gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s").out
    assert ": 2 done, 0 not done" in told[0]


def test_the_command_that_is_printed_runs_the_rest(gantool: Gantool):
    sweep = ("dataset=ring", "steps=2", "batch_size=8", "logger=[]", "objective=hinge,began", "hydra.sweep.dir=s")
    first = gantool("train", "-m", *sweep)  # the second job lacks its architecture
    assert first.code == 1
    (again,) = re.findall(r"run the rest again: gantool (.*)", first.out)
    second = gantool(*again.split())
    assert second.code == 1 and "1 done, 1 not done" in second.out, second.err


def test_a_job_that_was_trained_longer_alone_is_one_of_its_seeds_again(gantool: Gantool):
    tiny = ("dataset=ring", "steps=2", "batch_size=8", "logger=[]", "seed=1,2", "hydra.sweep.dir=s")
    assert gantool("train", "-m", *tiny).code == 0
    assert gantool("train", "resume=s/seed-1", "steps=4").code == 0
    assert gantool("train", "-m", "resume=s", "steps=4").code == 0
    (setting,) = json.loads(Path("s/summary.json").read_text("utf-8"))["settings"]
    assert (setting["done"], setting["jobs"]) == (2, 2)


@pytest.mark.usefixtures("with_plots")
def test_curves_of_a_folder_leave_out_what_is_damaged(gantool: Gantool):
    for name in ("one", "two"):
        assert gantool("train", "dataset=ring", "steps=2", "logger=[]", f"hydra.run.dir=outputs/{name}").code == 0
    Path("outputs/two/config.yaml").unlink()
    done = gantool("runs", "outputs", "--curves", "all")
    assert done.code == 0 and "left out" in done.err and "outputs/two" in done.err and Path("all.png").is_file()
