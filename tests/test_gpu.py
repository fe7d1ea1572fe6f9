"""On a CUDA device: a run that is interrupted and resumed equals the one that was not, under deterministic=true."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from gantool.commands.assembly import Assembly
from gantool.runs import checkpoint

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
def test_resumed_equals_uninterrupted_on_cuda(compose: Any, tmp_path: Path, architecture: str) -> None:
    config: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        compose("device=cuda", "deterministic=true", "trick=[ema,gradient_penalty]", f"architecture={architecture}"),
        resolve=True,
    )
    whole = play(Assembly(config), 8)
    checkpoint.save(tmp_path / "five.pt", play(Assembly(config), 5).state_dict())
    resumed = Assembly(config)
    resumed.load_state_dict(checkpoint.load(tmp_path / "five.pt"))
    play(resumed, 3)
    for name, value in whole.game.state_dict().items():
        assert torch.equal(value, resumed.game.state_dict()[name]), name


def play(parts: Assembly, steps: int) -> Assembly:
    for _ in range(steps):
        parts.prepare(1)
        parts.step()
    return parts
