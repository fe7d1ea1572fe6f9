"""The classifier that is trained once on a dataset and kept: what it learns, that it stays, that it is no trouble."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gantool.datasets.digits import Digits
from gantool.datasets.gaussians import Ring
from gantool.features import classifier as module
from gantool.features.cache import place
from gantool.features.classifier import Classifier, _varied
from gantool.features.network import Network
from gantool.game.types import Images
from toys import refusal

PIXELS = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
FEW = Images(PIXELS, (PIXELS.sum(dim=1) > 0).long(), ("below", "above"))


def dataset(train: Images = FEW, test: Images = FEW, flip: bool = False) -> SimpleNamespace:
    return SimpleNamespace(names=train.names, flip=flip, load=lambda split: train if split == "train" else test)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "classifier"


def untrained(monkeypatch) -> None:
    monkeypatch.setattr(module, "fit", lambda *_: pytest.fail("trained again"))


# ------------------------------------------------------------------ what it learns


def test_it_learns_digits():
    """scikit-learn's support vector machine (radial basis functions) is right on 0.989 of these 180."""
    digits = Digits()
    found = Classifier(digits)
    test = digits.load("test")
    assert found.accuracy >= 0.98 and found.examples == 1617
    assert float((found.classes(test.pixels) == test.labels).double().mean()) == found.accuracy


def test_it_learns_modes_of_points_wherever_they_lie():
    """Modes 2 sin(pi/8) = 0.77 apart with standard deviation 0.02 are told apart; so they are 1000 further on."""
    assert Classifier(Ring(size=2000)).accuracy == 1
    moved = FEW._replace(pixels=1000 + FEW.pixels)
    assert Classifier(dataset(moved, moved)).accuracy > 0.97


@pytest.mark.parametrize("shape, features", [((1, 7, 7), 64), ((1, 8, 8), 32), ((3, 28, 28), 64), ((3, 64, 64), 128)])
def test_any_resolution(shape, features):
    """Channels 16, 32, 64, 128, doubled as the side is halved, until it is 7 or less; 64 units where it is at once."""
    pixels = torch.randint(256, (5, *shape), dtype=torch.uint8)
    found, logits = Network(shape, 4).eval()(pixels)
    assert found.shape == (5, features) and logits.shape == (5, 4)


def test_labels_that_are_hidden_are_not_used():
    """Hidden ones contradict the others: who learnt them would be right by chance."""
    labels = torch.where(torch.arange(200) < 100, FEW.labels, -1)
    found = Classifier(dataset(FEW._replace(labels=labels)))
    assert found.examples == 100 and found.accuracy > 0.95
    assert "labelled" in refusal(Classifier, dataset(FEW._replace(labels=torch.full((200,), -1))))


def test_shifts_and_mirrors():
    """A dot in the middle of 16 x 16 goes up to 2 pixels away along each axis; half of the ramps are mirrored."""
    draw = torch.Generator().manual_seed(0)
    dots = torch.zeros(1000, 1, 16, 16, dtype=torch.uint8)
    dots[:, :, 8, 8] = 255
    where = _varied(dots, False, draw).flatten(1).argmax(dim=1)
    assert {(int(i) // 16, int(i) % 16) for i in where} == {(i, j) for i in range(6, 11) for j in range(6, 11)}
    ramp = torch.arange(16, dtype=torch.uint8).expand(1000, 2, 16, 16)
    slope = _varied(ramp, True, draw).to(torch.int64).diff(dim=3).sum(dim=3)[:, 0, 0].sign()
    assert set(slope.tolist()) == {-1, 1} and abs(float(slope.double().mean())) < 0.1
    assert torch.equal(_varied(PIXELS, True, draw), PIXELS)


# ------------------------------------------------------------------ that it stays


def test_it_is_trained_once(cache, monkeypatch):
    first = Classifier(dataset())
    untrained(monkeypatch)
    again = Classifier(dataset())
    assert (again.accuracy, again.fingerprint) == (first.accuracy, first.fingerprint)
    for one, other in zip(first(PIXELS), again(PIXELS), strict=True):
        assert torch.equal(one, other)


def test_the_same_data_give_the_same_and_others_do_not(cache, monkeypatch):
    prints = []
    for seed, data in ((0, FEW), (1, FEW), (1, FEW._replace(labels=1 - FEW.labels))):
        torch.manual_seed(seed)
        monkeypatch.setenv("GANTOOL_CACHE", str(cache / str(len(prints))))
        prints.append(Classifier(dataset(data, data)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_other_data_recipes_and_test_splits_are_kept_apart(cache, monkeypatch):
    for data in (dataset(), dataset(flip=True), dataset(test=FEW._replace(labels=1 - FEW.labels))):
        Classifier(data)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    Classifier(dataset())
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:900] + b"\xff\x00" + b[902:], lambda b: b""]
)
def test_a_damaged_file_is_made_again(cache, damage, caplog):
    first = Classifier(dataset())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with caplog.at_level("INFO"):
        assert Classifier(dataset()).fingerprint == first.fingerprint
    assert "damaged" in caplog.text and len(file.read_bytes()) == len(whole)


def test_where_nothing_can_be_kept_it_works(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "file"))
    assert Classifier(dataset()).accuracy > 0.97
    assert "again" in caplog.text and str(place("classifier", [])).startswith(str(tmp_path))


def _print(queue) -> None:
    queue.put(Classifier(dataset()).fingerprint)


def test_processes_at_once(cache):
    context = multiprocessing.get_context("spawn")  # after a fork torch's threads would be missing
    queue = context.Queue()
    jobs = [context.Process(target=_print, args=(queue,)) for _ in range(2)]
    for job in jobs:
        job.start()
    assert len({queue.get(timeout=120) for _ in jobs}) == 1
    for job in jobs:
        job.join()
    assert len(list(cache.iterdir())) == 1  # and no temporary file


# ------------------------------------------------------------------ that it disturbs nothing


def test_no_random_number_of_the_run_is_used(cache, monkeypatch):
    """Nor is a GPU's generator set: torch.manual_seed sets those of all devices, and only the CPU's is put back."""
    seeded: list[int] = []
    torch.manual_seed(5)
    before = torch.get_rng_state()
    monkeypatch.setattr("torch.cuda.manual_seed_all", seeded.append)
    Classifier(dataset())
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded
