"""The datasets that need no files of the user: digits, mixtures, shapes, and those of torchvision."""

import math
import pickle
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from gantool.datasets import shapes
from gantool.datasets.digits import Digits
from gantool.datasets.gaussians import Grid, Ring
from gantool.datasets.shapes import Shapes
from gantool.datasets.stacked_mnist import StackedMNIST
from gantool.datasets.torchvision_sets import TorchvisionSet
from gantool.errors import UsageError
from gantool.game.images import to_channels

CONF = Path(__file__).parents[1] / "conf" / "dataset"


@pytest.mark.parametrize("given, root", [(None, "data"), ("", "data"), ("/elsewhere", "/elsewhere")])
def test_where_data_lie(compose, monkeypatch, given, root):
    """A variable that is empty is not set: data would be looked for in the current folder itself."""
    monkeypatch.setenv("GANTOOL_DATA", given) if given is not None else monkeypatch.delenv("GANTOOL_DATA", False)
    assert compose("dataset=mnist").dataset.root == root


def test_every_option_is_built_from_its_file(monkeypatch, tmp_path):
    monkeypatch.setenv("GANTOOL_DATA", str(tmp_path))
    seen = {}
    for file in sorted(CONF.glob("*.yaml")):
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=file.stem != "folder")
        module, _, name = config.pop("_target_").rpartition(".")
        if file.stem != "folder":
            dataset = getattr(import_module(module), name)(**config)
            assert dataset.flip is False
            seen[file.stem] = (dataset.shape, len(dataset.names))
    assert seen == {
        "cifar10": ((3, 32, 32), 10),
        "digits": ((1, 8, 8), 10),
        "fashion_mnist": ((1, 28, 28), 10),
        "grid": ((2,), 25),
        "mnist": ((1, 28, 28), 10),
        "ring": ((2,), 8),
        "shapes": ((3, 32, 32), 6),
        "stacked_mnist": ((3, 28, 28), 1000),
    }


@pytest.mark.parametrize("dataset", [Digits(16), Ring(size=50), Grid(size=50), Shapes(16, 1, size=50)])
def test_what_is_promised_is_what_is_loaded(dataset):
    state = torch.get_rng_state()
    for split in ("train", "test"):
        images = dataset.load(split)
        assert images.shape == dataset.shape and images.names == dataset.names
        assert images.labels.dtype == torch.int64 and images.labels.shape == (len(images.pixels),)
        assert images.labels.min() >= 0 and images.labels.max() < len(dataset.names)
        assert images.pixels.dtype == (torch.uint8 if len(dataset.shape) == 3 else torch.float32)
        assert all(a.equal(b) for a, b in zip(images[:2], dataset.load(split)[:2], strict=True))
    assert torch.get_rng_state().equal(state)
    with pytest.raises(UsageError, match="no split 'val'"):
        dataset.load("val")


def test_digits_are_all_there_once():
    train, test = Digits().load("train"), Digits().load("test")
    bunch = load_digits()
    rows = torch.cat([train.pixels, test.pixels]).view(-1, 64).tolist()
    theirs = [[round(value * 255 / 16) for value in row] for row in bunch.data]
    assert sorted(rows) == sorted(theirs)
    assert (len(train.pixels), len(test.pixels)) == (1617, 180)
    assert test.labels.bincount().tolist() == [18] * 10
    label = {tuple(row): int(target) for row, target in zip(theirs, bunch.target, strict=True)}
    assert [label[tuple(row)] for row in rows] == torch.cat([train.labels, test.labels]).tolist()


def test_ring():
    ring = Ring(modes=8, radius=2.0, std=0.02, size=80_000, seed=3)
    assert ring.centers.shape == (8, 2) and ring.centers.dtype == torch.float32
    assert ring.centers[0].tolist() == [2.0, 0.0]
    assert ring.centers.norm(dim=1) == pytest.approx([2.0] * 8)
    neighbours = (ring.centers - ring.centers.roll(1, 0)).norm(dim=1)
    assert neighbours == pytest.approx([4 * math.sin(math.pi / 8)] * 8, abs=1e-6)  # the side of an octagon
    check_mixture(ring)


def test_grid():
    grid = Grid(side=5, spacing=2.0, std=0.05, size=80_000)
    assert sorted(grid.centers.tolist()) == [[-4.0 + 2 * i, -4.0 + 2 * j] for i in range(5) for j in range(5)]
    assert Grid(side=2, spacing=3.0).centers.abs().eq(1.5).all()
    check_mixture(grid)


def check_mixture(dataset):
    train, test = dataset.load("train"), dataset.load("test")
    noise = train.pixels - dataset.centers[train.labels]
    assert noise.std().item() == pytest.approx(dataset.std, rel=0.02)
    assert noise.mean().abs() < 5 * dataset.std / math.sqrt(2 * len(noise))
    assert torch.cdist(train.pixels, dataset.centers).argmin(dim=1).equal(train.labels)
    share = train.labels.bincount() / len(noise)
    assert share.numpy() == pytest.approx(1 / len(dataset.names), abs=5 * math.sqrt(0.11 / len(noise)))
    assert not set(map(tuple, train.pixels.tolist())) & set(map(tuple, test.pixels.tolist()))
    other = type(dataset)(size=dataset.size, seed=dataset.seed + 1).load("train")
    assert not set(map(tuple, other.pixels.tolist())) & set(map(tuple, test.pixels.tolist()))


AREA = {  # within the unit circle
    "circle": math.pi,
    "ring": math.pi * (1 - 0.25),
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "cross": (2 * 0.95 * 0.62) * 2 - 0.62**2,
    "star": 10 * 0.5 * math.sin(math.pi / 5) * math.cos(0.4 * math.pi) / math.cos(math.pi / 5),
}


@pytest.mark.parametrize("name", AREA)
def test_each_shape_has_its_area_and_fits_its_circle(name):
    axis = torch.linspace(-1.2, 1.2, 1201)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    inside = shapes.SHAPES[name](x[None], y[None])[0] < 0
    assert inside.sum().item() * (2.4 / 1200) ** 2 == pytest.approx(AREA[name], rel=0.01)
    reach = torch.hypot(x, y)[inside].max()
    assert 0.98 < reach <= 1.001


def test_shapes_lie_within_and_stand_out():
    for channels in (1, 3):
        images = Shapes(32, channels, size=600).load()
        grey = to_channels(images.pixels, 1)[:, 0].int()
        border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], dim=1)
        ground = border.median(dim=1).values
        assert ground.max() <= 0.2 * 255 + 1
        assert (grey.amax(dim=(1, 2)) - ground).min() >= 0.1 * 255
        assert (border > ground[:, None] + 8).float().mean() < 0.01  # nothing is cut off at the edge
    assert torch.unique(images.pixels.view(600, -1), dim=0).shape[0] == 600


@pytest.mark.parametrize("name", AREA)
def test_edges_of_shapes_are_antialiased(name):
    """A pixel is about the average of what it covers, as a drawing that is 16 times as fine shows it."""
    draw = torch.rand(8, 10, generator=torch.Generator().manual_seed(0))
    small = shapes._picture(shapes.SHAPES[name], draw, 16).float()
    large = shapes._picture(shapes.SHAPES[name], draw, 256).float()
    error = small - large.view(8, 3, 16, 16, 16, 16).mean(dim=(3, 5))
    assert error.abs().mean() < 1.5  # 3.8 to 7.4 without


def test_a_shape_does_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch):
    whole = Shapes(8, 3, size=40).load().pixels
    monkeypatch.setattr(shapes, "CHUNK", 64 * 3)
    assert Shapes(8, 3, size=40).load().pixels.equal(whole)


def test_shapes_must_not_be_too_small():
    with pytest.raises(UsageError, match=r"dataset\.resolution: shapes need at least 8 pixels, got 7"):
        Shapes(7)


# ------------------------------------------------------------------ torchvision


def write_mnist(raw: Path, seed: int = 0) -> None:
    """idx files as LeCun describes them: 20 training and 10 test images."""
    raw.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for prefix, count in (("train", 20), ("t10k", 10)):
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, count, 28, 28))
        pixels = chance.integers(256, size=(count, 28, 28), dtype=np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            (0x801).to_bytes(4, "big") + count.to_bytes(4, "big") + labels.tobytes()
        )


def test_what_is_held_out_is_not_trained_on(tmp_path):
    """The last of the training split, in their order; there are 20, and 10 in the test split."""
    write_mnist(tmp_path / "MNIST" / "raw")
    whole = TorchvisionSet("mnist", str(tmp_path), 28, 1, download=False)
    parted = TorchvisionSet("mnist", str(tmp_path), 28, 1, download=False, held_out=6)
    train = whole.load("train")
    for split, mine in (("train", slice(0, 14)), ("validation", slice(14, 20))):
        assert torch.equal(parted.load(split).pixels, train.pixels[mine])
        assert torch.equal(parted.load(split).labels, train.labels[mine])
    assert torch.equal(parted.load("test").pixels, whole.load("test").pixels)
    with pytest.raises(UsageError, match="there is no split .validation."):
        whole.load("validation")
    none = TorchvisionSet("mnist", str(tmp_path), 28, 1, download=False, held_out=20)
    with pytest.raises(UsageError, match="held_out=20 leaves none of 20 examples"):
        none.load()


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_from_its_files(tmp_path, name, folder):
    write_mnist(tmp_path / folder / "raw")
    images = TorchvisionSet(name, str(tmp_path), 28, 1, download=False).load("test")
    tail = (tmp_path / folder / "raw" / "t10k-images-idx3-ubyte").read_bytes()[16:]
    assert bytes(images.pixels.flatten().tolist()) == tail
    assert images.labels.tolist() == list(range(10)) and images.shape == (1, 28, 28)
    large = TorchvisionSet(name, str(tmp_path), 32, 3, download=False, flip=True)
    assert large.flip and large.load("train").pixels.shape == (20, 3, 32, 32)


def test_cifar10_from_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(
        torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True
    )  # ours have other checksums
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(256, size=(60, 3072), dtype=np.uint8)
    for i, file in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        batch = {"data": rows[10 * i : 10 * i + 10], "labels": list(range(10))}
        (folder / file).write_bytes(pickle.dumps(batch))
    train = TorchvisionSet("cifar10", str(tmp_path), 32, 3, download=False).load()
    assert train.pixels.equal(torch.from_numpy(rows[:50]).view(50, 3, 32, 32)) and train.pixels.is_contiguous()
    assert train.labels.tolist() == list(range(10)) * 5 and train.names[3] == "cat"
    assert TorchvisionSet("cifar10", str(tmp_path), 16, 1, download=False).load("test").pixels.shape == (10, 1, 16, 16)


@pytest.mark.parametrize("resolution", [28, 32])
def test_stacked_mnist(tmp_path, resolution):
    """Each colour is an image of MNIST's own split, as it lies there; the label reads red, green, blue as a number."""
    write_mnist(tmp_path / "MNIST" / "raw")
    digits = TorchvisionSet("mnist", str(tmp_path), resolution, 1, download=False)
    stacked = StackedMNIST(str(tmp_path), resolution, download=False, size=3000)
    for split in ("train", "test"):
        images, single = stacked.load(split), digits.load(split)
        assert images.pixels.dtype == torch.uint8 and images.shape == stacked.shape and len(images.pixels) == 3000
        where = {image.numpy().tobytes(): index for index, image in enumerate(single.pixels)}
        pick = torch.tensor([[where[colour.numpy().tobytes()] for colour in image] for image in images.pixels])
        read = ["".join(str(int(digit)) for digit in single.labels[three]) for three in pick]
        assert [images.names[label] for label in images.labels] == read
        for i in range(3):  # each image as likely, in each colour by itself: chi2 of 20 or 10 values, within 5 sd
            count = pick[:, i].bincount(minlength=len(single.pixels)).double()
            expected = 3000 / len(count)
            freedom = len(count) - 1
            assert ((count - expected) ** 2 / expected).sum() < freedom + 5 * math.sqrt(2 * freedom)
        assert len(set(read)) > 900  # of 1000 numbers, 1000 (1 - e^-3) = 950 on average
        assert stacked.load(split).pixels.equal(images.pixels)
    other = StackedMNIST(str(tmp_path), resolution, download=False, size=3000, seed=1)
    assert not other.load().labels.equal(stacked.load().labels)
    assert not stacked.load().labels.equal(stacked.load("test").labels)


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_missing_files_are_said_to_be_missing(tmp_path, name, folder):
    with pytest.raises(UsageError) as error:
        TorchvisionSet(name, str(tmp_path), 32, 3, download=False).load()
    assert f"{name} is missing in '{tmp_path / folder}'" in str(error.value)
    assert "dataset.download=true" in str(error.value) and "dataset.root" in str(error.value)


@pytest.mark.parametrize("keep", [0, 3, 10, 500])
def test_damaged_files_are_said_to_be_damaged(tmp_path, keep):
    write_mnist(tmp_path / "MNIST" / "raw")
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UsageError, match="mnist is damaged in"):
        TorchvisionSet("mnist", str(tmp_path), 28, 1, download=False).load()


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    def no_network(self):
        (Path(self.root) / "half").write_text("...", "utf-8")
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", no_network)
    with pytest.raises(
        UsageError, match=r"missing in .*the download failed \(.*no route to host.*dataset\.root"
    ) as error:
        TorchvisionSet("mnist", str(tmp_path / "new"), 28, 1).load()
    assert "\n" not in str(error.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_download_replaces_damaged_files(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda self: write_mnist(Path(self.raw_folder)))
    write_mnist(tmp_path / "MNIST" / "raw", seed=1)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:100])
    assert len(TorchvisionSet("mnist", str(tmp_path), 28, 1).load().pixels) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_real_mnist(shared_data):
    images = TorchvisionSet("mnist", str(shared_data), 28, 1, download=False).load("train")
    assert images.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.pixels.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)  # the known mean
