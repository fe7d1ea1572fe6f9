"""Inception-v3 by torch-fidelity: our numbers are those of its command line on the images that `gantool sample` dumps.

Its weights are random here, and given to both sides as one file: there is no network.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as theirs
import torch_fidelity.fidelity
from PIL import Image

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.datasets.digits import Digits
from gantool.features.inception import inception
from gantool.metrics.fid import FID
from toys import refusal


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """He et al. 2015's initial weights, and biases: the features of different images differ."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        net = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        for name, weight in net.state_dict().items():
            if weight.dim() == 4:
                torch.nn.init.kaiming_normal_(weight)
            elif name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.1)
    torch.save(net.state_dict(), path)
    return path


def pictures(folder: Path, n: int, channels: int, side: int) -> None:
    """Squares of all kinds, as PNG files."""
    draw = torch.Generator().manual_seed(0)
    folder.mkdir()
    for i in range(n):
        pixels = torch.randint(256, (side, side, channels), generator=draw, dtype=torch.uint8)
        low, high = sorted(torch.randint(side, (2,), generator=draw).tolist())
        pixels[low : high + 1, low : high + 1] = int(torch.randint(256, (), generator=draw))
        Image.fromarray(pixels.squeeze(2).numpy()).save(folder / f"{i:03d}.png")


def theirs_say(capfd, weights: Path, samples: str, data: str, n: int) -> dict[str, float]:
    """`fidelity` itself, on two folders of PNG files."""
    options = ["--input1", samples, "--input2", data, "--isc", "--fid", "--kid", "--prc", "--cpu", "--json", "--silent"]
    layers = ["--feature-extractor", "inception-v3-compat", "--feature-extractor-weights-path", str(weights)]
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        few = ["--kid-subset-size", str(n), "--kid-subsets", "2", "--isc-splits", "2"]
        patch.setattr(sys, "argv", ["fidelity", *options, *layers, *few, "--no-cache", "--save-cpu-ram"])
        torch_fidelity.fidelity.main()
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize(
    "channels, side, n",
    [
        (1, 12, 5),
        pytest.param(1, 28, 40, marks=pytest.mark.slow),
        pytest.param(3, 32, 40, marks=pytest.mark.slow),
        pytest.param(3, 300, 20, marks=pytest.mark.slow),
    ],
)
def test_our_numbers_are_those_of_its_command_line(channels, side, n, weights, gantool: Gantool, capfd, monkeypatch):
    """All five to 1e-3 of themselves; the neighbourhoods are the same."""
    monkeypatch.setenv("GANTOOL_CACHE", "kept")
    pictures(Path("data"), n, channels, side)
    names = ("fid", "kid", "inception_score", "precision", "recall")
    options = [f"metric.{name}.samples={n}" for name in names]
    done = gantool(
        "train", "steps=1", "batch_size=4", "logger=[]", "hydra.run.dir=run", "dataset=folder", "dataset.path=data",
        f"dataset.resolution={side}", f"dataset.channels={channels}", f"metric=[{','.join(names)}]", *options,
        f"inception_weights={weights}", "metric.kid.subsets=2", "metric.inception_score.splits=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    row = json.loads(Path("run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    dumped = gantool("sample", "run=run", "sampler=dump", f"n={n}", "seed=0", "out=samples")
    assert dumped.code == 0, dumped.err
    said = theirs_say(capfd, weights, "samples", "data", n)
    assert row["fid"] == pytest.approx(said["frechet_inception_distance"], rel=1e-3) and row["fid"] > 1
    assert row["kid"] == pytest.approx(said["kernel_inception_distance_mean"], rel=1e-3)
    assert row["inception_score"] == pytest.approx(said["inception_score_mean"], rel=1e-3)
    assert (row["precision"], row["recall"]) == (said["precision"], said["recall"])


def test_grey_is_seen_as_colour_and_weights_by_their_fingerprint(weights, tmp_path):
    grey = torch.randint(256, (2, 1, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = inception("metric.fid", str(weights), None)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(found(grey), found(grey.expand(-1, 3, -1, -1)), strict=True):
        assert torch.equal(one, other) and len(one) == 2 and one.std() > 0
    state = torch.load(weights)
    state["fc.bias"][0] += 1
    torch.save(state, tmp_path / "other.pth")
    facts = [inception("metric.fid", str(path), None).facts() for path in (weights, tmp_path / "other.pth")]
    assert facts[0]["fingerprint"] != facts[1]["fingerprint"] and "299" in facts[0]["resize"]


class Trap:
    """Unpickling it would make a file."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_weights_that_cannot_be_had_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = Digits()
    said = refusal(FID(weights="nowhere.pth").check, digits, None)
    assert (
        "the file 'nowhere.pth' cannot be had (No such file" in said
        and "features=classifier or features=pixels" in said
    )
    Path("text.pth").write_text("hello", "utf-8")
    torch.save({"a": torch.zeros(1)}, "other.pth")
    torch.save({"a": Trap()}, "trap.pth")
    for name in ("text", "other", "trap"):
        assert "holds no weights" in refusal(FID(weights=f"{name}.pth").check, digits, None)
    assert not Path("trapped").exists()


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(theirs, "load_state_dict_from_url", offline)
    said = refusal(FID().check, Digits(), None)
    assert "(Name or service not known): give inception_weights=FILE" in said and "\n" not in said
