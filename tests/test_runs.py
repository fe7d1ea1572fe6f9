"""What a run leaves on disk: written whole or not at all, read back only if whole, and found again."""

import errno
import io
import json
import math
import os
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.text import Text

from gantool.commands.runs import run as runs_command
from gantool.errors import RunError, UsageError
from gantool.runs import checkpoint, rows, status
from gantool.runs.folder import RunFolder, find, runs_below, write_atomically
from gantool.runs.rows import EVALUATED, Rows, evaluations, read
from gantool.runs.text import count, duration

STATE = {
    "step": 7,
    "game": OrderedDict(weight=torch.arange(1000.0), bias=torch.ones(3, dtype=torch.bfloat16)),
    "players": {"d": {"state": {0: {"exp_avg": torch.randn(5)}}, "lr": 1e-3, "betas": (0.5, 0.999), "maximize": False}},
    "rng": [torch.get_rng_state(), None, "text", b"bytes"],
}


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    return made(tmp_path / "outputs" / "digits" / "one", started="2026-01-01T00:00:00.000+00:00")


def made(root, **facts):
    run = RunFolder(root)
    root.mkdir(parents=True)
    run.config.write_text("seed: 0\n", "utf-8")
    status.update(run, state="done", **facts)
    return run


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# ---- folder ----


def test_names_are_those_that_are_documented():
    run = RunFolder("a")
    assert [str(path) for path in (run.config, run.overrides, run.status, run.log, run.rows)] == [
        "a/config.yaml",
        "a/overrides.yaml",
        "a/status.json",
        "a/train.log",
        "a/metrics.jsonl",
    ]
    assert [str(path) for path in (run.samples, run.animation, run.curves, run.checkpoints)] == [
        "a/samples",
        "a/training.webp",
        "a/curves.png",
        "a/checkpoints",
    ]
    assert (str(run.grid(1000)), str(run.checkpoint(1000))) == (
        "a/samples/step_00001000.png",
        "a/checkpoints/step_00001000.pt",
    )


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError, "disk full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), RunError, "disk full"),
        (OSError(errno.EACCES, "Permission denied"), UsageError, "Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), UsageError, "Read-only"),
        (OSError(errno.EIO, "Input/output error"), RunError, "Input/output"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (ZeroDivisionError("bug"), ZeroDivisionError, "bug"),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error, becomes, says):
    path = tmp_path / "file"
    path.write_text("old", "utf-8")

    def write(file):
        file.write(b"half of the new")
        raise error

    with pytest.raises(becomes) as caught:
        write_atomically(path, write)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_text("utf-8") == "old" and files(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path):
    script = """
import resource, sys, torch
from pathlib import Path
from gantool.errors import RunError
from gantool.runs import checkpoint
path = Path(sys.argv[1])
checkpoint.save(path, {"step": 1, "weight": torch.zeros(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.save(path, {"step": 2, "weight": torch.zeros(100_000)})
except RunError as error:
    sys.exit(str(error))
"""
    path = tmp_path / "checkpoints" / "step.pt"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("disk full: could not write") and "resume" in done.stderr
    assert checkpoint.load(path)["step"] == 1 and files(path.parent) == ["step.pt"]


def test_a_new_file_has_the_rights_that_the_umask_gives(tmp_path):
    write_atomically(tmp_path / "new" / "file", lambda file: file.write(b"x"))
    (tmp_path / "plain").write_text("x", "utf-8")
    assert (tmp_path / "new" / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_where_a_folder_is_needed_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(tmp_path / "file" / "grid.png", lambda file: file.write(b"x"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(tmp_path / "folder", lambda file: file.write(b"x"))
    assert files(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1500, "1.5k"), (999_999, "1M"), (1_234_567, "1.23M"), (4e9, "4G")]
)
def test_counts_are_short(value, text):
    assert count(value) == text and count(-value) == (f"-{text}" if value else text)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (125, "2m05s"), (3725, "1h02m")])
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def hydra_made(root):
    root.mkdir(parents=True)
    (root / "train.log").write_text("refused\n", "utf-8")
    return RunFolder(root)


def test_a_run_that_never_began_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hydra_made(Path("outputs/digits/wgan/new")).discard_if_unstarted()
    assert files(tmp_path) == []
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "README.md").write_text("x", "utf-8")
    hydra_made(tmp_path / "outputs/digits/wgan/new").discard_if_unstarted()
    assert files(tmp_path) == ["outputs", "outputs/README.md"]
    RunFolder("nowhere").discard_if_unstarted()


@pytest.mark.parametrize("extra", ["status.json", "checkpoints/step_00000001.pt", "notes.txt", "sub/"])
def test_a_folder_with_anything_else_in_it_stays_whole(tmp_path, monkeypatch, extra):
    monkeypatch.chdir(tmp_path)
    run = hydra_made(tmp_path / "outputs" / "new")
    path = run.root / extra
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if extra.endswith("/") else path.write_text("x", "utf-8")
    before = files(tmp_path)
    run.discard_if_unstarted()
    assert files(tmp_path) == before


def test_the_current_folder_and_those_above_an_outside_run_stay(tmp_path, monkeypatch):
    here, outside = tmp_path / "here", tmp_path / "elsewhere" / "run"
    hydra_made(here)
    monkeypatch.chdir(here)
    RunFolder(".").discard_if_unstarted()
    assert (here / "train.log").exists()
    hydra_made(outside).discard_if_unstarted()
    assert not outside.exists() and outside.parent.exists()


def test_latest_is_the_run_that_started_last(tmp_path):
    base = tmp_path / "outputs"
    second = made(base / "a" / "z", started="2026-01-02T00:00:00.000+00:00")
    first = made(base / "b", started="2026-01-01T00:00:00.000+00:00")
    third = made(base / "multirun" / "s" / "job", started="2026-01-03T00:00:00.000+00:00")
    damaged = RunFolder(base / "damaged")
    damaged.root.mkdir()
    damaged.status.write_text("{", "utf-8")
    (base / "loop").symlink_to(base)
    assert [run.root for run in runs_below(base)] == [run.root for run in (damaged, first, second, third)]
    found, path = find("latest", base)
    assert found.root == third.root and path is None
    status.update(first, resumed="2026-01-04T00:00:00.000+00:00")  # what was trained last is meant
    assert find("latest", base)[0].root == first.root
    assert find("latest", base, trained=True)[0].root == first.root  # neither holds a checkpoint
    second.checkpoints.mkdir()
    (second.checkpoints / "step_00000001.pt").touch()
    assert find("latest", base, trained=True)[0].root == second.root


def test_a_run_is_found_by_folder_by_checkpoint_and_as_the_table_prints_it(folder, tmp_path, monkeypatch):
    checkpoint.save(folder.checkpoint(5), STATE)
    base = tmp_path / "outputs"
    assert find(str(folder.root), base)[0].root == folder.root
    assert find("digits/one", base)[0].root == folder.root
    found, path = find(str(folder.checkpoint(5)), base)
    assert (found.root, path) == (folder.root, folder.checkpoint(5))
    monkeypatch.chdir(folder.checkpoints)
    assert find("step_00000005.pt", base)[0].config.exists()


def test_what_is_no_run_is_refused_with_a_sentence(folder, tmp_path):
    base = tmp_path / "outputs"
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    (tmp_path / "alone.pt").write_text("x", "utf-8")
    made(base / "digits" / "two")
    made(tmp_path / "bare").config.unlink()
    checkpoint.save(folder.checkpoint(5), STATE)
    for spec, says in [
        ("nowhere", "no such run: nowhere"),
        ("x" * 5000, "x"),
        (tmp_path / "empty", "is no run: it has no status.json"),
        (tmp_path / "notes.txt", "is no checkpoint"),
        (tmp_path / "alone.pt", "does not lie in the checkpoints/ of a run"),
        (tmp_path / "bare", "no complete run: it has no config.yaml"),
        (base, "holds several runs, not one: choose .*one or .*two|.*two or .*one"),
        (folder.checkpoints, f"give the run itself, {folder.root}"),
    ]:
        with pytest.raises(UsageError, match=says) as caught:
            find(str(spec), base)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="there are no runs below /.*empty yet"):
        find("latest", tmp_path / "empty")


# ---- status ----


def test_status_is_merged_and_strict_json(folder, tmp_path):
    assert status.read(RunFolder(tmp_path / "nowhere")) == {}
    status.update(folder, step=np.int64(3), last={"d_loss": math.nan, "g_loss": np.float32(0.5)}, tricks=("ema",))
    written = status.update(folder, state="failed")
    assert written == status.read(folder) == json.loads(folder.status.read_text("utf-8"), parse_constant=pytest.fail)
    assert written["step"] == 3 and written["last"] == {"d_loss": None, "g_loss": 0.5} and written["tricks"] == ["ema"]
    assert written["started"] < written["updated"] <= status.now()


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_status_is_named(folder, text):
    folder.status.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="cannot read .*status.json"):
        status.read(folder)


def test_a_run_whose_process_is_gone_was_killed(folder):
    assert status.state_of(folder) == "done"
    status.update(folder, state="running", **status.process())
    assert status.state_of(folder) == "running"
    if status.process()["born"] is not None:  # the number alone is not enough: somebody else may have it by now
        status.update(folder, born=status.process()["born"] - 1)
        assert status.state_of(folder) == "killed"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    status.update(folder, pid=child.pid, born=None)
    assert status.state_of(folder) == "running"
    child.kill()
    deadline = time.monotonic() + 10
    while (
        Path("/proc/self/stat").exists() and status.state_of(folder) == "running"
    ):  # dead, but nobody has waited for it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert status.state_of(folder) == "killed"
    status.update(folder, host="another machine")
    assert status.state_of(folder) == "running"


def test_the_environment_is_known_without_torch():
    facts = status.environment()
    assert facts["torch"] == str(torch.__version__).partition("+")[0] or facts["torch"] == torch.__version__
    assert facts["python"] == sys.version.split()[0] and facts["hydra"].startswith("1.3")
    assert {"torchvision", "gantool", "platform"} <= facts.keys()


def test_the_git_revision_says_whether_files_differ(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    monkeypatch.setattr(status, "__file__", str(tmp_path / "gantool" / "runs" / "status.py"))
    assert status.git_revision() is None
    git("init")
    assert status.git_revision() is None
    (tmp_path / "file").write_text("x", "utf-8")
    git("add", "file")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert status.git_revision() == commit
    (tmp_path / "file").write_text("y", "utf-8")
    assert status.git_revision() == commit + "+dirty"
    monkeypatch.chdir(tmp_path)  # gantool as installed into an environment in a repository of the user's
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(status, "__file__", str(tmp_path / "site" / "gantool" / "runs" / "status.py"))
        assert status.git_revision() is None
    monkeypatch.setenv("PATH", "")
    assert status.git_revision() is None


# ---- rows ----


def test_rows_are_read_as_written_and_nan_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = Rows(path)
    assert read(path) == []
    rows.truncate(3, 3)
    rows.append({"step": 1, "d_loss": 0.1 + 0.2, "fid": np.float64(2.5)})
    rows.append({"step": 2, "d_loss": math.inf, "ok": True})
    assert (
        path.read_text("utf-8")
        == '{"step": 1, "d_loss": 0.30000000000000004, "fid": 2.5}\n{"step": 2, "d_loss": null, "ok": true}\n'
    )
    assert read(path) == [{"step": 1, "d_loss": 0.1 + 0.2, "fid": 2.5}, {"step": 2, "d_loss": None, "ok": True}]


def test_truncate_drops_later_rows_and_a_half_written_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step":5,  "a": 1.0}\n{"step": 10, "a": 2}\n'  # odd spacing: the bytes must stay
    path.write_text(whole + '{"step": 15, "a": 3}\n{"step": 7, "a"', "utf-8")
    assert [row["step"] for row in read(path)] == [5, 10, 15]
    Rows(path).truncate(10, 10)
    assert path.read_text("utf-8") == whole
    Rows(path).append({"step": 11})
    assert [row["step"] for row in read(path)] == [5, 10, 11]


def test_an_evaluation_of_the_step_that_goes_on_stays(tmp_path):
    """A run that stopped within a tick tells of that tick again; what was measured of its checkpoint is still true."""
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 4}, {"step": 6, EVALUATED: "now"}, {"step": 6}, {"step": 8, EVALUATED: "now"}]
    for row in rows:
        Rows(path).append(row)
    Rows(path).truncate(6, 4)
    assert (read(path), evaluations(path)) == ([rows[0]], [rows[1]])


def test_what_another_process_appends_meanwhile_stays(tmp_path, monkeypatch):
    """`gantool evaluate` adds its row after the training has looked at how long the file is, and before it writes."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n', "utf-8")

    class Watched(io.FileIO):
        def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
            found = super().seek(offset, whence)
            if whence == os.SEEK_END:
                path.write_text(path.read_text("utf-8") + '{"step": 1, "fid": 2}\n', "utf-8")
            return found

    monkeypatch.setattr(rows, "open", lambda file, mode, buffering: Watched(file, "a+"), raising=False)
    Rows(path).append({"step": 2})
    assert [row["step"] for row in read(path)] == [1, 1, 2]


def test_a_damaged_row_in_the_middle_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n', "utf-8")
    with pytest.raises(UsageError, match="line 2"):
        read(path)


# ---- gantool runs ----


@pytest.fixture
def three(tmp_path):
    base = tmp_path / "outputs"
    facts = {"dataset": "digits", "architecture": "mlp", "objective": "wgan", "tricks": ["ema"], "seconds": 61}
    last = {"step": 1500, "d_loss": 0.25, "g_loss": 2.0, "d_real": 9.0, "fid": 30.5, "images_per_second": 7.0}
    made(base / "b", started="2026-01-01T00:00:00.000+00:00", step=1500, images=96000, last=last, **facts)
    made(base / "a", started="2026-01-02T00:00:00.000+00:00", step=20, last={"fid": 9.5, "d_loss": None}, **facts)
    status.update(made(base / "c[x]", started="2026-01-03T00:00:00.000+00:00"), state="failed", reason="out of\nmemory")
    return base


def test_the_table_has_what_one_asks_of_a_run(three, capsys):
    assert runs_command([str(three)]) == 0
    heading, first, second, third = capsys.readouterr().out.splitlines()
    words = [" ".join(line.split()) for line in (heading, first, second)]
    assert words[0] == "run status dataset architecture objective tricks step images last metrics time"
    assert words[1] == "b done digits mlp wgan ema 1.5k 96k d_loss 0.25, g_loss 2, fid 30.5 1m01s"
    assert words[2] == "a done digits mlp wgan ema 20 - fid 9.5 1m01s"
    assert third.startswith("c[x]") and "failed" in third and "out of memory" in third


def test_the_best_may_come_first_and_a_metric_goes_before_what_the_status_says(three, capsys):
    """status.json has a `precision`, too: that of the arithmetic."""
    for name, value in (("a", 0.5), ("b", 0.75)):
        folder = RunFolder(three / name)
        status.update(folder, precision="fp32", last={**status.read(folder)["last"], "precision": value})
    for arguments, order in (
        (["precision"], "abc"),
        (["precision", "--reverse"], "bac"),
        (["fid", "--reverse"], "bac"),
        (["run", "--reverse"], "cba"),
    ):
        runs_command([str(three), "--sort", *arguments])
        assert "".join(line[0] for line in capsys.readouterr().out.splitlines()[1:]) == order


@pytest.mark.parametrize(
    ("column", "order"), [("started", "bac"), ("run", "abc"), ("step", "abc"), ("fid", "abc"), ("d_loss", "bac")]
)
def test_the_table_is_sorted_by_any_column(three, capsys, column, order):
    runs_command([str(three), "--sort", column])
    assert "".join(line[0] for line in capsys.readouterr().out.splitlines()[1:]) == order


def test_the_json_has_everything(three, capsys):
    runs_command([str(three), "--json"])
    runs = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in runs] == ["b", "a", "c[x]"] and runs[0]["last"]["d_real"] == 9.0


@pytest.mark.parametrize(("width", "table"), [(80, False), (200, True)])
def test_a_terminal_gets_a_table_if_it_fits(three, capsys, monkeypatch, width, table):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    runs_command([str(three)])
    out = capsys.readouterr().out
    assert ("last metrics" in out) == table and "c[x]" in out and "d_loss 0.25" in out
    assert max(len(Text.from_ansi(line)) for line in out.splitlines()) <= width


def test_no_runs_is_said_kindly_and_mistakes_are_refused(three, tmp_path, capsys, monkeypatch):
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path / "none")
    assert runs_command([]) == 0
    assert capsys.readouterr().out == "There are no runs below outputs/ yet. gantool train makes one.\n"
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        runs_command(["nowhere"])
    with pytest.raises(UsageError, match="cannot sort by 'fidd': choose one of .*fid"):
        runs_command([str(three), "--sort", "fidd"])
    (three / "a" / "status.json").write_text("{", "utf-8")
    runs_command([str(three)])
    assert "unreadable" in capsys.readouterr().out


def test_the_table_needs_no_torch(three):
    script = (
        "import sys; from gantool.commands.runs import run; run(sys.argv[1:]); "
        "assert not {'torch', 'matplotlib', 'numpy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(three)], check=True, capture_output=True)
