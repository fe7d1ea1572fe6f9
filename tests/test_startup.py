"""What takes long to load is loaded where it is needed: neither before the first step, nor to sample."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from gantool.game.player import Player

HEAVY = {"torch._dynamo", "torch._inductor", "sklearn", "scipy", "matplotlib", "torchvision", "tensorboard", "pandas"}
PROGRAM = """
import sys
from gantool.cli.dispatch import main
from gantool.commands.assembly import Assembly

def stepped(parts, step=Assembly.step):
    step(parts)
    print("loaded", *sys.modules, flush=True)

Assembly.step = stepped
train = ["train", "steps=1", "logger=[]", "hydra.run.dir=run"]
code = main(train) if sys.argv[1:] == ["train"] else main(["sample", "run=run", "n=4"])
print("loaded", *sys.modules)
sys.exit(code)
"""


def loaded(tmp_path, command: str) -> set[str]:
    """Modules that are there after the first step, or when all is sampled."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, command], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    first = next(line for line in ran.stdout.splitlines() if line.startswith("loaded"))
    return set(first.split())


def test_nothing_heavy_is_loaded_before_it_is_needed(tmp_path):
    """Digits come from scikit-learn, and torch's optimisers are marked for its compiler: neither is needed for it."""
    started = loaded(tmp_path, "train")
    assert "torch" in started and not started & HEAVY
    sampled = loaded(tmp_path, "sample")
    assert "torch" in sampled and not sampled & HEAVY
    assert not {name for name in sampled if name.startswith("gantool.datasets.")}, "sampling needs no data"


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "NAdam", "Adagrad"])
def test_a_step_is_torch_s_own(name):
    """Bit for bit, by the fused kernel where there is one, whichever function is called for it; no graph is kept.

    (The fused kernels differ from the others in the last bit on some CPUs.)
    """
    weights = [torch.linspace(-1, 1, 5).requires_grad_() for _ in range(2)]
    optimizer = partial(getattr(torch.optim, name), lr=0.1, weight_decay=0.01)
    fused = {} if name in ("RMSprop", "NAdam") else {"fused": True}
    player, alone = Player([weights[0]], optimizer), optimizer([weights[1]], **fused)
    for weight in (1.0, -2.0, 0.5):
        player.apply([torch.arange(5.0) * weight])
        weights[1].grad = torch.arange(5.0) * weight
        alone.step()
        assert torch.equal(weights[0], weights[1]) and weights[0].is_leaf
