"""Hydra's plugins, as the extras install them: jobs at once with joblib, which Ctrl-C lets save; Optuna's search."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli_helpers import read_status
from gantool.cli import launch, workers
from gantool.cli.job import Folders, Job
from gantool.errors import Interrupted
from gantool.runs import status
from gantool.runs.call import Call
from gantool.runs.folder import RunFolder

ROOT = Path(__file__).parents[1]


# ------------------------------------------------------------------------------------------- without the plugins


@pytest.fixture
def other() -> Iterator[subprocess.Popen]:
    """A worker's process."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def running(folder: Path, pid: int) -> Path:
    folder.mkdir()
    status.update(RunFolder(folder), state="running", pid=pid, host=platform.node())
    return folder


def test_ctrl_c_waits_for_the_jobs_to_save(tmp_path: Path, other: subprocess.Popen):
    folders = [running(tmp_path / name, other.pid) for name in ("one", "two")]
    before = signal.getsignal(signal.SIGINT)

    def save() -> None:
        for folder in folders:
            time.sleep(0.3)
            status.update(RunFolder(folder), state="interrupted")

    saving = threading.Thread(target=save)
    with pytest.raises(KeyboardInterrupt), workers.let_save(lambda: folders):
        saving.start()
        os.kill(os.getpid(), signal.SIGINT)
    assert [read_status(folder)["state"] for folder in folders] == ["interrupted"] * 2
    saving.join()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, other: subprocess.Popen):
    folder = running(tmp_path / "one", other.pid)
    again = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    with pytest.raises(KeyboardInterrupt), workers.let_save(lambda: [folder]):
        again.start()
        os.kill(os.getpid(), signal.SIGINT)
    assert read_status(folder)["state"] == "running"


def test_no_job_is_waited_for_longer_than_that(tmp_path: Path, other: subprocess.Popen, monkeypatch):
    """It may not have heard: `kill -INT` reaches one process."""
    monkeypatch.setattr(workers, "LONGEST", 0.3)
    folder = running(tmp_path / "one", other.pid)
    with pytest.raises(KeyboardInterrupt), workers.let_save(lambda: [folder]):
        os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_is_passed_on_to_the_jobs(tmp_path: Path, other: subprocess.Popen):
    """It may have been sent to the sweep's own process alone."""
    folder = running(tmp_path / "one", other.pid)
    with pytest.raises(Interrupted) as stopped, workers.let_save(lambda: [folder]):
        os.kill(os.getpid(), signal.SIGTERM)
    assert (stopped.value.exit_code, other.wait(10)) == (143, -signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_in_the_sweeps_own_process_is_not_waited_for(tmp_path: Path, number: signal.Signals):
    """So joblib runs them on one core."""
    folder, began = running(tmp_path / "one", os.getpid()), time.monotonic()
    with pytest.raises(KeyboardInterrupt), workers.let_save(lambda: [folder]):
        os.kill(os.getpid(), number)
    assert time.monotonic() - began < workers.LONGEST / 2


def test_a_sweep_may_run_in_a_thread():
    heard = []

    def sweep() -> None:
        with workers.let_save(lambda: []):
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()
    assert heard == [signal.SIG_DFL]


@pytest.mark.parametrize(("launcher", "waited_for"), [("joblib", 1), ("submitit_slurm", 0), ("basic", 0)])
def test_only_jobs_that_end_with_us_are_waited_for(tmp_path, monkeypatch, launcher: str, waited_for: int):
    Call(tmp_path, "mark").note(tmp_path / "one", state="running")
    monkeypatch.setattr(Folders, "sweep", tmp_path)
    monkeypatch.setattr(Folders, "launcher", launcher)
    assert launch._begun("mark") == [tmp_path / "one"] * waited_for


def test_a_worker_that_was_stopped_begins_no_other_job(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Job, "stopped", "this launch")
    with pytest.raises(KeyboardInterrupt):
        Job("train", "this launch")(None)  # type: ignore[arg-type]  # it is not looked at


# ---------------------------------------------------------------------------------------------- with the plugins


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that has the plugins of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    hydra = [one for one in project["dependencies"] if one.startswith(("hydra", "omegaconf"))]
    extras = project["optional-dependencies"]
    there = tmp_path_factory.mktemp("plugins")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", there]
    subprocess.run([*pip, *hydra, *extras["joblib"], *extras["optuna"]], check=True, timeout=1200)
    return os.environ | {"PYTHONPATH": f"{there}{os.pathsep}{ROOT}"}


@pytest.mark.slow
def test_a_search(tmp_path: Path, environment: dict[str, str]):
    """The best of its trials is what the runs say, and a run may fail."""
    search = [
        "train", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=3",
        "best.metric=g_loss", "best.mode=max", "optimizer.generator.lr=choice(1e-5,1e-3,1e30)", "seed=range(1,4)",
        "steps=20",
    ]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "gantool", *search],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr
    assert "Directions: ['maximize']" in ran.stderr
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    found = yaml.safe_load((sweep / "optimization_results.yaml").read_text("utf-8"))
    bests = [json.loads(file.read_text("utf-8")).get("value") for file in sweep.glob("*/status.json")]
    assert found["best_value"] == max(value for value in bests if value is not None)
    assert ran.returncode == (1 if None in bests else 0), ran.stderr
    assert len(re.findall(r"#\d+ :", ran.stdout + ran.stderr)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to", "code"),
    [(signal.SIGINT, os.killpg, 130), (signal.SIGTERM, os.kill, 143), (signal.SIGTERM, os.killpg, 143)],
)
def test_a_signal_saves_all_jobs_that_run_at_once(tmp_path: Path, environment: dict[str, str], number, to, code: int):
    """Ctrl-C goes to all processes of the sweep. The third job, which waited, does not begin."""
    sweep = tmp_path / "sweep"
    ran = subprocess.Popen(
        [sys.executable, "-m", "gantool", "train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
         "seed=1,2,3", "steps=1000000", "compile=off", "dataset=ring", f"hydra.sweep.dir={sweep}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while len(list(sweep.glob("*/metrics.jsonl"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    to(ran.pid, number)
    told, _ = ran.communicate(timeout=120)
    assert ran.returncode == code, told
    assert "Traceback" not in told
    assert sorted(folder.parent.name for folder in sweep.glob("*/status.json")) == ["seed-1", "seed-2"]
    for folder in (sweep / "seed-1", sweep / "seed-2"):
        run = read_status(folder)
        assert run["state"] == "interrupted"
        assert RunFolder(folder).checkpoint(run["step"]).is_file()
