"""Memorising, fair and noisy generators are told apart; the nearest neighbours are the nearest."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.datasets.digits import Digits
from gantool.game import distances
from gantool.game.images import to_float, to_uint8
from gantool.game.types import Images
from gantool.metrics.memorization import Memorization
from gantool.samplers.neighbours import Neighbours

CPU = torch.device("cpu")
DIGITS = Digits()
TRAIN, TEST = (to_float(DIGITS.load(split).pixels) for split in ("train", "test"))


def noise(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("room", [2**23, 500])
@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_nearest_equals_scikit_learn(monkeypatch, room, shift):
    """In pieces and far from 0 too."""
    monkeypatch.setattr(distances, "ROOM", room)
    examples, others = noise(20, 3, seed=1).double() + shift, noise(150, 3, seed=2).double() + shift
    told: list[tuple] = []
    found, index = distances.nearest(examples, others, 4, CPU, lambda *each: told.append(each))
    expected, where = NearestNeighbors(n_neighbors=4, algorithm="kd_tree").fit(others).kneighbors(examples)
    assert np.allclose(found.numpy(), expected, rtol=1e-6) and (index.numpy() == where).all()
    assert told[-1] == ("neighbours", 150, 150) and (len(told) > 1) == (room == 500)


def test_pixels_and_floats_are_compared_alike():
    """An image and the float that it becomes are at distance 0, and know each other."""
    found, index = distances.nearest(TRAIN[:50], DIGITS.load("train").pixels, 1, CPU)
    assert found.max() < 1e-6
    assert torch.equal(TRAIN[index[:, 0]], TRAIN[:50])


def measured(samples: Tensor, dataset=DIGITS) -> dict[str, float]:
    trained = SimpleNamespace(fakes=lambda n: samples[:n], device=CPU, report=lambda *told: None)
    metric = Memorization(samples=len(samples))
    found = metric(trained, dataset)
    assert tuple(found) == metric.columns
    assert metric.facts()["reference_size"] == len(dataset.load("train").pixels)
    return found


def test_copies_are_found():
    found = measured(TRAIN[:500])
    assert (found["memorization"], found["copied"]) == (1, 1)
    assert found["nearest_train"] == pytest.approx(0, abs=1e-6) and found["nearest_train_test"] > 1


def test_copies_of_mirrored_examples_are_found():
    """A run that mirrors half of its examples was shown them so. An example and its mirror image are one, not the
    nearest and the second; test examples are as far as from a set of both.
    """
    samples = TRAIN[:500].flip(3)
    assert measured(samples)["copied"] < 0.2
    found = measured(samples, Digits(flip=True))
    assert (found["memorization"], found["copied"]) == (1, 1)
    both = torch.cat([TRAIN, TRAIN.flip(3)]).flatten(1)
    chosen = torch.randperm(len(TEST), generator=torch.Generator().manual_seed(0))[:500]
    expected = NearestNeighbors(n_neighbors=1).fit(both).kneighbors(TEST[chosen].flatten(1))[0].mean()
    assert found["nearest_train_test"] == pytest.approx(float(expected), rel=1e-5)
    symmetric = (TRAIN[:50] + TRAIN[:50].flip(3)) / 2
    held = SimpleNamespace(flip=True, load=lambda split: Images(to_uint8(symmetric), torch.full((50,), -1)))
    assert measured(to_float(to_uint8(symmetric)), held)["copied"] == 1


def test_the_nearer_of_an_example_and_its_mirror_image_is_shown(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("gantool.runs.pictures.neighbours", lambda samples, found, out, **rest: seen.append(found))
    sampler = Neighbours(neighbours=2)
    sampler.see(DIGITS.load("train"), flip=True)
    sampler([torch.cat([TRAIN[:3], TRAIN[3:6].flip(3)])], None, tmp_path / "a.png")
    assert torch.equal(seen[0][:3, 0], TRAIN[:3]) and torch.equal(seen[0][3:, 0], TRAIN[3:6].flip(3))


def test_noisy_copies_are_found():
    """Noise of 0.02 a pixel moves an image of 64 pixels by 0.16; its neighbours are ten times as far."""
    found = measured(TRAIN[:500] + 0.02 * noise(500, 1, 8, 8))
    assert found["memorization"] > 0.99 and found["copied"] > 0.99


def test_the_data_itself_is_fair():
    """Test examples as samples: as near as themselves."""
    found = measured(TEST)
    assert found["memorization"] == pytest.approx(0.5, abs=1e-12)
    assert found["copied"] < 0.02
    assert found["nearest_train"] == pytest.approx(found["nearest_train_test"], rel=1e-12)


def test_half_copies():
    """Half of the samples are copies, half are fair: (1 + 0.5) / 2 of the pairs."""
    found = measured(torch.cat([TRAIN[:180], TEST]))
    assert found["memorization"] == pytest.approx(0.75, abs=1e-12)
    assert found["copied"] == pytest.approx(0.5, abs=0.02)


def test_noise_and_blur_are_no_copies():
    found = measured(noise(200, 1, 8, 8).clamp(-1, 1))
    assert (found["memorization"], found["copied"]) == (0, 0)
    blurred = measured(torch.nn.functional.avg_pool2d(TEST, 3, 1, 1))
    assert blurred["copied"] == 0


def test_by_hand():
    """Training points 0 and 10; samples 1 and 4 (nearest 1 and 4, second 9 and 6), test points 2 and 13 (2 and 3)."""
    points = {"train": [[0.0], [10.0]], "test": [[2.0], [13.0]]}
    line = SimpleNamespace(flip=False, load=lambda split: Images(torch.tensor(points[split]), torch.full((2,), -1)))
    found = measured(torch.tensor([[1.0], [4.0]]), line)
    assert found == pytest.approx(
        {"memorization": 0.5, "copied": 0.5, "nearest_train": 2.5, "nearest_train_test": 2.5}, abs=1e-6
    )


def test_neighbours_are_drawn_beside_samples(gantool: Gantool):  # noqa: F811
    """`sampler=dump` gives the samples, scikit-learn their neighbours, and the picture has both where they belong."""
    run = ("hydra.run.dir=run", "steps=3", "batch_size=8", "logger=[]")
    assert gantool("train", *run).code == 0
    done = gantool("sample", "run=run", "sampler=neighbours", "n=6", "columns=2", "seed=1", "out=near.png")
    assert done.code == 0, done.err
    assert gantool("sample", "run=run", "sampler=dump", "format=npz", "n=6", "seed=1", "out=all").code == 0
    samples = np.load("all.npz")["images"][..., 0]
    pixels = DIGITS.load("train").pixels[:, 0].numpy()
    where = NearestNeighbors(n_neighbors=3).fit(pixels.reshape(len(pixels), -1) / 255.0)
    found = where.kneighbors(samples.reshape(6, -1) / 255.0)[1]
    sheet = np.asarray(Image.open("near.png"))
    side = 32 + 2  # eight pixels, each four wide, and the space between
    for i in range(6):
        for j, expected in enumerate([samples[i], *pixels[found[i]]]):
            top, left = 2 + side * (i // 2), 2 + side * (4 * (i % 2) + j)
            cell = sheet[top : top + 32 : 4, left : left + 32 : 4]
            assert (cell == expected[..., None]).all(), (i, j)
            assert (sheet[top - 1, left + 5] == ((31, 111, 180) if j == 0 else (255, 255, 255))).all()


def test_neighbours_of_points(gantool: Gantool):  # noqa: F811
    assert gantool("train", "dataset=ring", "dataset.size=500", "hydra.run.dir=run", "steps=3", "logger=[]").code == 0
    for settings in ((), ("sampler.neighbours=1",)):
        done = gantool("sample", "run=run", "sampler=neighbours", "n=20", "seed=1", "out=near.png", *settings)
        assert done.code == 0, done.err
    assert Image.open("near.png").size == (480, 480)


def test_neighbours_need_the_data(gantool: Gantool):  # noqa: F811
    assert gantool("train", "hydra.run.dir=run", "steps=3", "batch_size=8", "logger=[]").code == 0
    config = Path("run/config.yaml")
    config.write_text(config.read_text("utf-8").replace("resolution: 8", "resolution: 10"), "utf-8")
    done = gantool("sample", "run=run", "sampler=neighbours", "n=4")
    assert done.code == 2 and "the data now has the shape [1, 10, 10], not the run's [1, 8, 8]" in done.err
