"""A generator outside the command line: gantool.load from Python, gantool export as a program without gantool."""

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gantool as package
from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.errors import UsageError

SMALL = ("device=cpu", "logger=[]", "steps=2", "hydra.run.dir=outputs/run")
MLP = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]")
CONDITIONAL = (*MLP, "architecture.class_conditional=true")
NARROW = ("architecture.generator.features=8", "architecture.discriminator.features=8")
IMAGES = ("dataset=shapes", "dataset.size=64", "batch_size=8", *NARROW)
OUTSIDE = """
import sys, torch
net = torch.export.load(sys.argv[1]).module()
assert not any(name.split(".")[0] == "gantool" for name in sys.modules)
torch.save(net(*torch.load("inputs.pt")), "outputs.pt")
"""


@pytest.mark.parametrize(
    "settings",
    [
        CONDITIONAL,
        (*MLP, "trick=[ema]", "objective=info"),
        ("architecture=mlp_maxout",),
        ("architecture=dcgan", *IMAGES, "trick=[virtual_batch_norm]"),
        ("architecture=dcgan", *IMAGES, "trick=[spectral_norm]", "trick.spectral_norm.player=both"),
        ("architecture=autoencoder", *IMAGES, "objective=began"),
        ("dataset=ring", *MLP, "prior=uniform"),
        (*CONDITIONAL, "meta=ada_gan", "meta.components=2", "meta.discriminator_steps=2"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_program_draws_what_the_run_draws(gantool: Gantool, settings):
    trained = gantool("train", *SMALL, *settings)
    assert trained.code == 0, trained.err
    done = gantool("export", "out=program")
    assert (done.code, done.out.strip()) == (0, "program.pt2"), done.err
    run = package.load()
    latents, labels = run.latents(5, seed=3), torch.tensor([0, 1, 2, 1, 0])
    inputs = (latents, labels) if run.classes else (latents,)
    told = {"gantool.json": ""}
    net = torch.export.load("program.pt2", extra_files=told).module()
    facts, one, five = json.loads(told["gantool.json"]), net(*(each[:1] for each in inputs)), net(*inputs)
    wanted = run.deployed.images(latents, labels if run.classes else torch.full((5,), -1))
    torch.testing.assert_close(five, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one, wanted[:1], rtol=1e-4, atol=1e-5)
    assert facts["latents"].startswith(f"(N, {latents.shape[1]}) float32")
    assert facts["samples"].startswith(f"(N, {', '.join(map(str, run.shape))}) float32") and facts["step"] == 2
    assert ("labels" in facts) == ("classes" in facts) == bool(run.classes)


def test_the_program_needs_no_gantool(gantool: Gantool):
    assert gantool("train", *SMALL, *CONDITIONAL).code == 0
    file = gantool("export").out.strip()
    run, labels = package.load(), torch.tensor([3, 1])
    torch.save((run.latents(2, seed=1), labels), "inputs.pt")
    subprocess.run([sys.executable, "-P", "-c", OUTSIDE, file], check=True)
    wanted = run.deployed.images(run.latents(2, seed=1), labels)
    torch.testing.assert_close(torch.load("outputs.pt"), wanted, rtol=1e-4, atol=1e-5)


def test_a_disk_that_is_full_is_told(gantool: Gantool, monkeypatch):
    """Torch ends the process where it writes to a file that takes no more."""
    assert gantool("train", *SMALL, *CONDITIONAL).code == 0

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gantool.runs.folder.open", lambda path, mode: Full(), raising=False)
    result = gantool("export", "out=x.pt2")
    assert result.code == 1 and "disk full: could not write x.pt2" in result.err
    assert not Path("x.pt2").exists()


def test_samples_without_a_seed_follow_torchs_own(gantool: Gantool):
    """What a program has seeded stays so, and samples are other ones each time."""
    assert gantool("train", *SMALL, *CONDITIONAL).code == 0
    run, drawn = package.load(), []
    for _ in range(2):
        torch.manual_seed(0)
        drawn.append((run.sample(2), run.sample(2), torch.rand(3)))
    (one, two, after), again = drawn
    assert all(map(torch.equal, again, drawn[0])) and not torch.equal(one, two)
    torch.manual_seed(0)
    run.sample(2, seed=1)
    untouched = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(untouched, torch.rand(3)) and not torch.equal(untouched, after)


def test_what_cannot_be_traced_is_said_in_a_sentence(gantool: Gantool, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from gantool.architectures.mlp import Generator\n"
        "class Moody(Generator):\n"
        "    def forward(self, latent, label):\n"
        "        return super().forward(latent, label) * (1 if latent.sum() > 0 else 2)\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ("trust=[mine]", "architecture.generator._target_=mine.Moody")
    assert gantool("train", *SMALL, *MLP, *own).code == 0
    refused = gantool("export")
    assert refused.code == 2 and "trust=[mine]" in refused.err
    failed = gantool("export", "trust=[mine]", "out=program.pt2")
    assert failed.code == 1 and "torch.export cannot make a program of this generator" in failed.err
    assert "Traceback" not in failed.err and len(failed.err.strip().splitlines()) == 1
    assert not Path("program.pt2").exists()


def test_the_file_lies_in_the_run_unless_it_is_said_and_says_what_it_is(gantool: Gantool):
    assert gantool("train", *SMALL, *CONDITIONAL).code == 0
    done = gantool("export", "run=outputs/run")
    assert (
        done.code == 0
        and done.out.strip() == "outputs/run/generator_step_00000002.pt2"
        and Path(done.out.strip()).is_file()
    )
    assert "labels   (N,) int64, 0 to 9" in done.err
    refused = gantool("export", "out=net.onnx")
    assert refused.code == 2 and ".pt2" in refused.err


def test_load_draws_what_sample_draws(gantool: Gantool):
    assert gantool("train", *SMALL, *CONDITIONAL, "trick=[ema]").code == 0
    dump = ("sample", "sampler=dump", "format=npz", "n=6", "seed=4")
    for name, settings, asked in (
        ("fair", [], {}),
        ("asked", ["classes=[7,3]"], {"classes": (7, "3")}),
        ("one", ["classes=5"], {"classes": "5"}),
        ("cut", ["truncation=0.5"], {"truncation": 0.5}),
    ):
        assert gantool(*dump, f"out={name}", *settings).code == 0
        drawn = package.load("outputs/run").sample(6, seed=4, **asked)
        with np.load(f"{name}.npz") as arrays:
            pixels = ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            assert (arrays["images"] == pixels.permute(0, 2, 3, 1).numpy()).all()
    raw, averaged = (package.load("outputs/run", ema=ema).sample(6, seed=4) for ema in (False, True))
    assert (raw != averaged).any()
    assert package.load("outputs/run").classes == tuple("0123456789") and package.load("outputs/run").step == 2


def test_load_and_sample_say_what_is_wrong(gantool: Gantool):
    with pytest.raises(UsageError, match="there are no runs below"):
        package.load()
    assert gantool("train", *SMALL, *CONDITIONAL).code == 0
    with pytest.raises(UsageError, match="there is no class 'cat'"):
        package.load("outputs/run").sample(2, classes=["cat"])
    with pytest.raises(UsageError, match="no average"):
        package.load("outputs/run", ema=True)
