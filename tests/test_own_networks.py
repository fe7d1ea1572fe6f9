"""Networks of the user's own: frozen, tied, lazy and complex layers, other layers on resume, what they give wrongly."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder

NETS = """
import torch
from torch import nn
from gantool.game import networks
class Layers(nn.Module):
    def __init__(self, kind):
        super().__init__()
        lazy, old = kind == "lazy", kind == "old"
        self.a, self.b = nn.LazyLinear(8) if lazy else nn.Linear(8, 8), nn.Linear(8, 8)
        if old:
            self.a = nn.utils.weight_norm(self.a)
        if kind == "frozen":
            self.a.requires_grad_(False)
        if kind == "complex":
            self.c = nn.Parameter(torch.ones(8, dtype=torch.complex64))
        if kind == "sparse":
            self.register_buffer("graph", torch.eye(8).to_sparse(), persistent=False)
        if kind in ("tied", "twice"):
            self.b.weight = self.a.weight
        if kind == "twice":
            self.again = self.a
        self.norm = nn.BatchNorm1d(8) if kind.startswith("norm") else None
        if kind == "norm twice":
            self.same = self.norm
        elif kind == "norm of two":
            self.same = nn.BatchNorm1d(8)
            for name, buffer in self.norm.named_buffers():
                setattr(self.same, name, buffer)
    def forward(self, x):
        x = self.b(self.a(x).relu())
        x = x if self.norm is None else self.same(self.norm(x))
        return (x * self.c).real if hasattr(self, "c") else x
class Mine(networks.Generator):
    def __init__(self, shape, latent_dim, num_classes=0, kind: str = "plain"):
        super().__init__(shape, latent_dim, num_classes)
        self.body = nn.Sequential(nn.Linear(self.inputs, 8), Layers(kind), nn.Linear(8, *shape))
        self.kind = kind
    def forward(self, latent, label):
        made = super().forward(latent, label)
        return None if self.kind == "none" else torch.cat([made, made[:, :1]], 1) if self.kind == "wide" else made
class D(networks.Discriminator):
    def __init__(self, shape, num_classes=0, logits=1, kind: str = "plain"):
        super().__init__(shape, num_classes, logits)
        self.trunk = nn.Sequential(nn.Linear(self.inputs, 8), Layers(kind))
        self.num_features, self.head, self.kind = 8, nn.Linear(8, logits), kind
    def forward(self, image, label):
        verdict = super().forward(image, label)
        flat = verdict._replace(logits=verdict.logits[:, 0])
        return verdict.logits if self.kind == "bare" else flat if self.kind == "flat" else verdict
"""


def trained_by(gantool: Gantool, g: str, d: str, *settings: str) -> tuple[str, dict[str, torch.Tensor]]:
    """What is said, and the weights at the end, if it ends well."""
    Path("mine/architecture").mkdir(parents=True, exist_ok=True)
    Path("my_nets.py").write_text(NETS, "utf-8")
    Path("mine/architecture/odd.yaml").write_text(
        "# Mine. Source: this test.\nlatent_dim: 4\nclass_conditional: false\nprojection: false\n"
        f"generator: {{_target_: my_nets.Mine, kind: {g}}}\ndiscriminator: {{_target_: my_nets.D, kind: {d}}}\n",
        "utf-8",
    )
    shutil.rmtree("r", ignore_errors=True)
    quick = ("dataset=ring", "batch_size=8", "steps=3", "logger=[]", "hydra.run.dir=r")
    result = gantool("train", "--config-dir", "mine", "trust=[my_nets]", "architecture=odd", *quick, *settings)
    sys.modules.pop("my_nets")
    if result.code:
        return result.err, {}
    return result.err, checkpoint.load(checkpoint.choose(RunFolder("r"), "last"))["game"]


@pytest.mark.parametrize(
    "settings",
    [
        ("compile=off",),
        pytest.param(("compile=step",), marks=pytest.mark.slow),
        ("compile=off", "update=unrolled", "update.unrolled_steps=2"),
        ("compile=off", "update=consensus"),
        ("compile=off", "trick=[weight_clipping,historical_averaging,ema]", "trick.weight_clipping.c=0.3"),
    ],
)
def test_frozen_weights_stay_as_they_are(gantool: Gantool, settings: tuple[str, ...]):
    said, later = trained_by(gantool, "frozen", "frozen", "checkpoint_every=1", "keep_last=3", *settings)
    assert later, said
    once = checkpoint.load(checkpoint.choose(RunFolder("r"), 1))["game"]
    weights = [name for name in once if name.startswith("nets.") and name.endswith("weight")]
    still = {name for name in weights if torch.equal(once[name], later[name])}
    assert still == {"nets.generator.body.1.a.weight", "nets.discriminator.trunk.1.a.weight"}


@pytest.mark.parametrize("update", ["alternating", "unrolled", "consensus"])
def test_a_layer_of_two_names_is_one_layer(gantool: Gantool, update: str):
    """Weights that are tied lead where they lead when their layer is registered once more."""
    said, tied = trained_by(gantool, "tied", "tied", "compile=off", f"update={update}")
    also, twice = trained_by(gantool, "twice", "twice", "compile=off", f"update={update}")
    assert tied and twice, said + also
    assert not [name for name, value in tied.items() if not torch.equal(value, twice[name])]


@pytest.mark.parametrize("kind", ["norm twice", "norm of two"])
def test_looking_ahead_leaves_buffers_of_two_names_alone(gantool: Gantool, kind: str):
    """Each of 3 steps of D sees reals, then fakes, and so does G's turn the fakes; what is ahead leaves no trace."""
    counts = []
    for ahead in (1, 3):
        _, ended = trained_by(
            gantool, "plain", kind, "compile=off", "update=unrolled", f"update.unrolled_steps={ahead}"
        )
        counts.append({name: int(value) for name, value in ended.items() if name.endswith("num_batches_tracked")})
    assert counts[0] == counts[1] and len(counts[0]) == 2


def test_a_run_does_not_go_on_with_other_layers_frozen(gantool: Gantool):
    """The moments of its optimiser are those of the layers that moved."""
    assert trained_by(gantool, "plain", "plain", "compile=off")[1]
    Path("my_nets.py").write_text(NETS, "utf-8")
    option = Path("mine/architecture/odd.yaml")
    option.write_text(option.read_text("utf-8").replace("my_nets.D, kind: plain", "my_nets.D, kind: frozen"), "utf-8")
    result = gantool("train", "--config-dir", "mine", "resume=r", "architecture=odd", "steps=5", "trust=[my_nets]")
    sys.modules.pop("my_nets")
    assert result.code == 2 and "the saved optimiser moves 8 tensors" in result.err, result.err


@pytest.mark.parametrize(
    ("g", "d", "said"),
    [
        ("plain", "bare", "D.forward() must give Verdict(logits, features), and gives torch.float32 (8, 1)"),
        ("plain", "flat", "D.forward() must give logits (8, ...), a row an example, not torch.float32 (8,)"),
        ("wide", "plain", "Mine.forward() must give examples of the data's shape (2,), and gives (3,)"),
        ("none", "plain", "Mine.forward() must give 256 examples for 256 latents, and gives None"),
    ],
)
def test_what_networks_of_ones_own_give_wrongly_is_said_of_them(gantool: Gantool, g: str, d: str, said: str):
    assert said in trained_by(gantool, g, d, "compile=off")[0]


def test_a_buffer_without_storage_is_no_hindrance(gantool: Gantool):
    assert trained_by(gantool, "sparse", "sparse", "steps=6", "compile=off")[1]


MATRICES = """
import torch
class Mine(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})
    @torch.no_grad()
    def step(self):
        for weight in self.param_groups[0]["params"]:
            if weight.dim() > 1:
                self.state[weight].setdefault("mean", torch.zeros_like(weight)).lerp_(weight.grad, 0.1)
            weight.sub_(weight.grad, alpha=0.01)
"""


def test_an_optimiser_that_remembers_only_matrices_goes_on(gantool: Gantool):
    """As Muon does; not all that it moves has a moment."""
    Path("my_step.py").write_text(MATRICES, "utf-8")
    Path("mine/optimizer").mkdir(parents=True)
    player = "  _target_: my_step.Mine\n  lr: 0.01\n  schedule: null\n"
    text = f"# Mine. Source: this test.\ngenerator:\n{player}discriminator:\n{player}"
    Path("mine/optimizer/matrices.yaml").write_text(text, "utf-8")
    quick = ("dataset=ring", "batch_size=8", "logger=[]", "compile=off", "hydra.run.dir=r", "optimizer=matrices")
    for steps in (2, 4):
        result = gantool("train", "--config-dir", "mine", "trust=[my_step]", *quick, f"steps={steps}")
        assert result.code == 0, result.err
    sys.modules.pop("my_step")


def test_layers_that_cannot_be_trained_or_copied_are_told(gantool: Gantool):
    said, _ = trained_by(gantool, "lazy", "plain")
    assert "architecture.generator has lazy layers, which cannot be trained: give them their sizes" in said
    said, _ = trained_by(gantool, "old", "plain", "trick=[ema]", "compile=off")
    assert "Mine cannot be copied" in said and "parametrizations.weight_norm" in said
    _, weights = trained_by(gantool, "complex", "complex", "compile=off")
    assert weights["nets.generator.body.1.c"].dtype == torch.complex64
