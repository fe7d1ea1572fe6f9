"""The command line in process: run it, and see its exit code, output and folders."""

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from gantool.cli.dispatch import main
from gantool.runs import status
from gantool.runs.folder import RunFolder


class Result(NamedTuple):
    code: int
    out: str
    err: str


Gantool = Callable[..., Result]


@pytest.fixture(name="gantool")
def gantool_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Iterator[Gantool]:
    """`gantool("train", "seed=1")` in an empty folder; the process's logging, paths and modules are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions

    def run(*argv: str) -> Result:
        capfd.readouterr()
        code = main(argv)
        return Result(code, *capfd.readouterr())

    yield run
    root.handlers[:], root.level, logging.raiseExceptions = before
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]  # the next test may have a file of that name too


TINY = (
    "dataset=ring", "dataset.size=200", "batch_size=16", "architecture.generator.hidden=[8]",
    "architecture.discriminator.hidden=[8]", "logger=[]", "hydra.run.dir=run",
)  # fmt: skip
RUN = Path("run")  # of a training with these


KEPT: dict[tuple[str, ...], Path] = {}  # runs of this process, by their settings


def train_once(gantool: Gantool, *settings: str) -> None:
    """Leaves `run` as a training with these settings does; each is trained once, then copied."""
    if settings not in KEPT:
        assert gantool("train", *settings, f"hydra.run.dir={RUN}").code == 0
        KEPT[settings] = Path(tempfile.mkdtemp(dir=Path.cwd().parent)) / "run"
        shutil.copytree(RUN, KEPT[settings])
    else:
        shutil.copytree(KEPT[settings], RUN)


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RUN / "metrics.jsonl").read_text("utf-8").splitlines()]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def of_gantool(error: BaseException) -> None:
    """Raises it in a file of the package, as a defect of gantool's own does."""
    import gantool.cli.job

    exec(compile("raise error", gantool.cli.job.__file__, "exec"), {"error": error})


def fake_train(cfg: DictConfig) -> float | None:
    """Leaves a folder as a finished run does, and learns nothing. Fails where a seed or setting says so."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder, overrides = RunFolder(hydra.runtime.output_dir), list(hydra.overrides.task)
    if cfg.seed == 666:
        of_gantool(ValueError("what a bug says"))
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(OmegaConf.to_yaml(cfg, resolve=True), "utf-8")
    folder.overrides.write_text(yaml.safe_dump(overrides), "utf-8")
    runs = status.read(folder).get("runs", 0) + 1
    status.update(folder, state="running", overrides=overrides, started=status.now(), runs=runs, error=None)
    if cfg.seed == 130:
        raise KeyboardInterrupt
    last = {"step": 3, "d_loss": float(cfg.seed), "g_loss": 0.5, "d_real": 9.0, "fid": 10.0 * cfg.seed}
    status.update(folder, state="done", last=last)
    return 0.25


def read_status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text("utf-8"))
