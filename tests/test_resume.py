"""A run that was killed and resumed equals the run that was not, bit for bit: weights, optimisers, rows, grids."""

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantool.cli.dispatch import main

TIMING = {"seconds", "images_per_second"}
KILLER = """
import os, signal
from gantool.game.hooks import Clock, Trick

class Killer(Trick):
    '''Kills the process outright within step 17, once.'''
    def __init__(self):
        super().__init__()
        self.clock = Clock()
    def after_g(self, nets):
        self.clock.tick()
        if os.environ.get("KILL_AT") == str(int(self.clock.now)):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def write_idx(path: Path, array: np.ndarray) -> None:
    """The file format of MNIST (http://yann.lecun.com/exdb/mnist)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def fake_mnist(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", 50), ("t10k", 20)):
        write_idx(root / "MNIST/raw" / f"{split}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(root / "MNIST/raw" / f"{split}-labels-idx1-ubyte", rng.integers(0, 10, (n,), dtype=np.uint8))


def image_folder(root: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(40):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)).save(path)


def data(kind: str, tmp: Path) -> list[str]:
    if kind == "points":
        return ["dataset=ring", "dataset.size=100"]
    if kind == "embedded":
        return ["dataset=digits"]
    if kind == "torchvision":
        fake_mnist(tmp / "data")
        return ["dataset=mnist", f"dataset.root={tmp / 'data'}", "dataset.download=false", "dataset.flip=true"]
    image_folder(tmp / "pictures")
    where = "stream" if kind == "streamed" else "device"
    return ["dataset=folder", f"dataset.path={tmp / 'pictures'}", "dataset.resolution=16", f"data={where}",
            "dataset.flip=true", "architecture=dcgan", "architecture.generator.features=4",
            "architecture.discriminator.features=4"]  # fmt: skip


ON_THE_DEVICE = ("points", "embedded", "torchvision", "folder")
SETTINGS = [
    "steps=40", "batch_size=16", "tick_every=7", "sample_every=8", "checkpoint_every=5", "seed=3",
    "trick=[killer,ema,gradient_penalty,instance_noise]", "update.discriminator_steps=2", "trust=[killer]",
    "optimizer.generator.schedule.kind=cosine", "keep_last=50", "logger=[]",
]  # fmt: skip


@pytest.mark.usefixtures("with_plots")
@pytest.mark.parametrize("kind", ["streamed", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ON_THE_DEVICE)])
def test_killed_and_resumed_equals_uninterrupted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "killer.py").write_text(KILLER, "utf-8")
    conf = tmp_path / "conf/trick"
    conf.mkdir(parents=True)
    (conf / "killer.yaml").write_text(
        "# @package trick.killer\n# A test's. Source: gantool.\n_target_: killer.Killer\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KILL_AT", raising=False)
    args = ["train", "--config-dir", str(tmp_path / "conf"), *data(kind, tmp_path), *SETTINGS]
    assert main([*args, "hydra.run.dir=whole"]) == 0

    monkeypatch.setenv("KILL_AT", "17")
    command = [sys.executable, "-m", "gantool", *args, "hydra.run.dir=broken"]
    killed = subprocess.run(command, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    whole = [path.name for path in Path("broken/checkpoints").glob("step_*.pt")]  # the last one is being written
    assert max(whole, default="") in ("step_00000010.pt", "step_00000015.pt")
    monkeypatch.delenv("KILL_AT")
    assert main(["train", "--config-dir", str(tmp_path / "conf"), "resume=broken", "trust=[killer]"]) == 0

    assert_equal_runs(Path("whole"), Path("broken"))


def assert_equal_runs(whole: Path, broken: Path) -> None:
    compare(*(torch.load(run / "checkpoints/step_00000040.pt", weights_only=True) for run in (whole, broken)))
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        for run in (whole, broken)
    ]
    assert [row["step"] for row in rows[0]] == [7, 14, 21, 28, 35, 40]
    timeless = [[{key: value for key, value in row.items() if key not in TIMING} for row in run] for run in rows]
    assert timeless[0] == timeless[1]
    grids = [sorted((run / "samples").iterdir()) for run in (whole, broken)]
    assert [path.name for path in grids[0]] == [path.name for path in grids[1]]
    assert len(grids[0]) == 6
    for ours, theirs in zip(*grids, strict=True):
        assert ours.read_bytes() == theirs.read_bytes(), ours.name


def compare(ours: object, theirs: object, where: str = "") -> None:
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours.keys() - {"seconds"}:
            compare(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            compare(*pair, f"{where}/{i}")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs, where
