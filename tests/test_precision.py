"""In what numbers a game is played."""

import pytest
import torch
from torch import nn

from gantool.engine import precision
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import Fixed, Shown, verdict


def test_losses_and_penalties_are_float32_under_autocast():
    """Half of D's forward pass may be bfloat16; its loss may not, and the penalty's slope is exact."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self, inputs: int):
            super().__init__()
            self.body, self.seen = nn.Linear(inputs, 1), []

        def forward(self, x, label):
            self.seen.append(self.body(x).dtype)
            return verdict(self.body(x))

    class G(Net):
        def forward(self, x, label):
            return super().forward(x, label).logits

    played = Game(G(1), Net(1), Shown(), {"penalty": GradientPenalty("r1", 2.0)}, Fixed(torch.ones(4, 1)))
    played.autocast = precision.autocast("bf16", torch.device("cpu"))
    loss, stats = played.d_loss()
    d, turn = played.nets["discriminator"], played.objective.d_turn
    assert d.seen == [torch.bfloat16, torch.bfloat16, torch.float32]  # real, fake, penalty
    assert played.nets["generator"].seen == [torch.bfloat16]
    assert {loss.dtype, turn.real.dtype, turn.fake.dtype, *(s.dtype for s in stats.values())} == {torch.float32}
    assert float(stats["d_penalty"]) == float(d.body.weight.detach().square().sum())
    assert played.g_loss()[0].dtype == torch.float32


def test_precision_follows_device_and_data():
    cpu = torch.device("cpu")
    assert precision.choose_precision("bf16", cpu, (2,)) == "bf16"
    assert precision.choose_precision("auto", cpu, (2,)) == "fp32"  # points need the digits
    assert precision.choose_precision("auto", cpu, (3, 32, 32)) == ("bf16" if precision.has_bf16(cpu) else "fp32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_missing_device_is_refused():
    assert precision.choose_device("cpu") == precision.choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="device=cuda: this torch sees no CUDA device"):
        precision.choose_device("cuda")


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_only_apples_gpus_may_lack_a_deterministic_kernel(kind, monkeypatch):
    told = []
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.use_deterministic_algorithms", lambda mode, warn_only: told.append((mode, warn_only)))
    precision.set_up(torch.device(kind), deterministic=True)
    assert told == [(True, kind == "mps")]
