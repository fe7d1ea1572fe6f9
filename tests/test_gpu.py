"""On a CUDA device: a captured step equals the eager one, for every objective, trick and update there is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantool.commands.assembly import Assembly
from gantool.engine.capture import Captured
from gantool.errors import UsageError

pytestmark = pytest.mark.gpu
CONF = Path(__file__).parent.parent / "conf"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def play(config: dict[str, Any], steps: int, eager: bool) -> tuple[Assembly, Captured]:
    parts = Assembly(config)
    step = Captured(parts.step, parts.device)
    step.eager = eager
    for _ in range(steps):
        parts.source.prepare(parts.batches_per_step)
        step()
    return parts, step


def assert_equal_play(compose: Any, *overrides: str) -> None:
    nets = [f"architecture.{player}.hidden=[32]" for player in ("generator", "discriminator")]
    config = compose("device=cuda", "batch_size=16", "deterministic=true", *nets, *overrides)
    try:
        eager, _ = play(config, 8, eager=True)
    except UsageError:
        return  # a combination that is refused by name
    captured, step = play(config, 8, eager=False)
    assert step.graph is not None, "the step was not captured"
    states = [parts.game.state_dict() | {"meters": parts.meters.total} for parts in (eager, captured)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("objective", options("objective"))
@pytest.mark.parametrize("update", options("update"))
def test_captured_objective_equals_eager(compose: Any, objective: str, update: str) -> None:
    trick = "trick=[gradient_penalty]" if objective == "wasserstein" else "trick=[]"
    assert_equal_play(compose, f"objective={objective}", f"update={update}", trick)


@pytest.mark.parametrize("trick", options("trick"))
@pytest.mark.parametrize("update", options("update"))
def test_captured_trick_equals_eager(compose: Any, trick: str, update: str) -> None:
    assert_equal_play(compose, f"trick=[{trick}]", f"update={update}")


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_captured_optimizer_with_schedule_equals_eager(compose: Any, optimizer: str) -> None:
    schedules = [f"optimizer.{player}.schedule.kind=cosine" for player in ("generator", "discriminator")]
    assert_equal_play(compose, f"optimizer={optimizer}", "trick=[ema]", *schedules)
