"""Helpers that several test files use."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig

import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)
from gantool.config.schema import conf_dir
from gantool.engine import precision
from gantool.runs import curves

Compose = Callable[..., DictConfig]
DRAW = curves.draw


@pytest.fixture(scope="session", autouse=True)
def kept_for_all_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Classifiers and the like stay among the tests, and are shared by parallel workers."""
    base = tmp_path_factory.getbasetemp()
    os.environ["GANTOOL_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kept")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C; tests that send one expect it to be heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """`device=auto` is the CPU, whatever the machine has; not in modules marked `gpu`, nor under a simulated GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("gpu") is None:
            choose, asked = precision.choose_device, torch.cuda.is_available

            def choose_here(name: str) -> torch.device:
                return choose("cpu" if name == "auto" and torch.cuda.is_available is asked else name)

            patch.setattr(precision, "choose_device", choose_here)
            patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts
        yield


@pytest.fixture(scope="module", autouse=True)
def no_curves() -> Iterator[None]:
    """Runs do not draw their curves, which takes longer than a few steps; see `with_curves`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gantool.runs.curves.draw", lambda rows, path, title: None)
        yield


@pytest.fixture
def with_curves(no_curves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """But those of this test do."""
    monkeypatch.setattr("gantool.runs.curves.draw", DRAW)


@pytest.fixture
def compose() -> Compose:
    """`compose("objective=wgan_gp", "seed=1")` -> the configuration that the command would run with."""

    def composed(*overrides: str, command: str = "train") -> DictConfig:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra.compose(command, list(overrides))

    return composed


@pytest.fixture
def shared_data() -> Path:
    """Real data sets beside the checkout, for those who have them; others skip."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data here")
    return folder
