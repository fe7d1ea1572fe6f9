"""A run's folder belongs to one process at a time, from before anything is written into it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.job import Folders
from gantool.errors import Busy, UsageError
from gantool.runs import status
from gantool.runs.claim import claimed
from gantool.runs.folder import RunFolder

TINY = ("dataset=ring", "dataset.size=50", "batch_size=4", "steps=2", "logger=[]")
HOLDER = """
import sys
from pathlib import Path
from gantool.runs.claim import claimed
from gantool.runs.folder import RunFolder
with claimed(RunFolder(Path(sys.argv[1]))):
    print("mine", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: str) -> Iterator[subprocess.Popen]:
    """A process that has begun in a folder, and has written nothing yet."""
    command = [sys.executable, "-c", HOLDER, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def test_of_two_at_the_same_moment_one_is_refused_and_leaves_nothing(gantool: Gantool) -> None:
    with holder("run") as other:
        refused = gantool("train", *TINY, "hydra.run.dir=run")
        assert (refused.code, "run is in use by another process" in refused.err) == (2, True)
        assert files(Path("run")) == []
        other.send_signal(signal.SIGKILL)  # which leaves nothing locked
        other.wait()
        assert gantool("train", *TINY, "hydra.run.dir=run").code == 0


def test_what_another_process_has_begun_is_not_tidied(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To both the folder was new, and a configuration without a status looks like a run that never began."""
    monkeypatch.setattr(Folders, "_new", lambda self, hydra, kind: Path("run"))
    with holder("run"):
        Path("run/config.yaml").write_text("seed: 0\n", "utf-8")
        assert gantool("train", *TINY, "hydra.run.dir=run").code == 2
        assert files(Path("run")) == ["config.yaml"]


def test_jobs_of_a_sweep_too(gantool: Gantool) -> None:
    with holder("s/seed-1"):
        done = gantool("train", "-m", *TINY, "seed=1,2", "hydra.sweep.dir=s")
        assert "s/seed-1 is in use by another process" in done.err
        assert files(Path("s/seed-1")) == []
    assert status.read(RunFolder("s/seed-2"))["state"] == "done"


def test_two_processes_make_one_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gantool", "train", *TINY, "steps=300", "seed=3", "hydra.run.dir=run"]
    begun = [subprocess.Popen([*command, f"tick_every={n}"], cwd=tmp_path, stderr=subprocess.PIPE) for n in (50, 100)]
    told = [process.communicate(timeout=120)[1].decode() for process in begun]
    codes = [process.returncode for process in begun]
    if sorted(codes) == [0, 2]:  # else one began when the other had ended, and went on with its run
        assert "is in use by" in told[codes.index(2)]
    assert 0 in codes and status.read(RunFolder(tmp_path / "run"))["step"] == 300


def test_a_claim_ends_with_its_block_and_is_on_this_folder_alone(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path / "new" / "one"), RunFolder(tmp_path / "other")
    for _ in range(2):
        with claimed(one), claimed(other), pytest.raises(Busy), claimed(one):
            pytest.fail("claimed twice")
    assert files(tmp_path) == ["new", "new/one", "other"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"), claimed(RunFolder(tmp_path / "file" / "run")):
        pytest.fail("claimed")


def test_where_there_are_no_locks_the_status_alone_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    folder = RunFolder(tmp_path)
    with claimed(folder):
        pass
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        status.update(folder, state="running", **status.process() | {"pid": other.pid, "born": None})
        with pytest.raises(Busy, match=f"by process {other.pid}"), claimed(folder):
            pytest.fail("claimed")
        other.communicate(b"\n")


def test_without_proc_a_number_that_is_used_again_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where `ps` tells when a process began, whatever has been rebooted since."""
    monkeypatch.setattr(status, "_stat", lambda pid: [])
    if status.process()["born"] is None:
        pytest.skip("this ps does not say when a process began")
    folder = RunFolder(tmp_path)
    status.update(folder, state="running", **status.process())
    assert status.state_of(folder) == "running"
    status.update(folder, born="Thu Jan  1 00:00:00 1970", pid=os.getppid())
    assert status.state_of(folder) == "killed"
