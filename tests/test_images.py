"""Resizing, channels and fingerprints, against PIL and arithmetic by hand."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gantool.errors import UsageError
from gantool.game import images
from gantool.game.images import (
    check_split,
    fingerprint,
    hide_labels,
    loaded,
    promised,
    resize,
    split_generator,
    to_channels,
    to_float,
    to_uint8,
)
from gantool.game.types import Images
from toys import refusal


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def by_pil(pixels: torch.Tensor, resolution: int) -> torch.Tensor:
    """One image (3, H, W): PIL crops the square, then PIL resizes."""
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    small = np.array(square.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return torch.from_numpy(small).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (91, 40), (8, 8), (17, 17)])
@pytest.mark.parametrize("resolution", [8, 28, 32])
def test_resize_is_that_of_pil(size, resolution):
    pixels = noise(2, 3, *size) // 2 + 64  # away from the ends, where PIL clamps between its two passes
    for mine, image in zip(resize(pixels, resolution), pixels, strict=True):
        error = (mine.int() - by_pil(image, resolution).int()).abs()
        assert error.max() <= 1  # and rounds there, too
        assert error.float().mean() < 0.3


def test_resize_is_antialiased():
    """A checkerboard of single pixels becomes grey; picking pixels would leave it black and white."""
    board = torch.arange(64).view(-1, 1).add(torch.arange(64)).remainder(2).mul(255).to(torch.uint8)
    inner = resize(board.view(1, 1, 64, 64), 16)[0, 0, 2:-2, 2:-2].float()
    assert (inner - 127.5).abs().max() <= 2


def test_resize_leaves_what_fits_and_does_not_depend_on_pieces(monkeypatch):
    pixels = noise(10, 3, 12, 20)
    assert resize(pixels[..., :12], 12).equal(pixels[..., :12])
    assert resize(pixels, 12).equal(pixels[..., 4:16])
    whole = resize(pixels, 7)
    monkeypatch.setattr(images, "CHUNK", 3 * 12 * 20 * 4)  # pieces of 4, 4 and 2
    assert resize(pixels, 7).equal(whole)
    assert len(resize(pixels[:0], 7)) == 0


def test_to_channels():
    pixels = noise(5, 3, 6, 7)
    grey = to_channels(pixels, 1)
    by_hand = (0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]).round()
    assert grey.shape == (5, 1, 6, 7) and grey.dtype == torch.uint8
    assert (grey[:, 0] - by_hand).abs().max() <= 1  # halves may round either way
    assert (grey[:, 0] != by_hand).float().mean() < 0.02
    colour = to_channels(grey, 3)
    assert colour.shape == (5, 3, 6, 7) and all(colour[:, i].equal(grey[:, 0]) for i in range(3))
    assert to_channels(colour, 1).equal(grey)
    assert to_channels(pixels, 3) is pixels
    with pytest.raises(ValueError, match="cannot turn 4 into 3"):
        to_channels(noise(1, 4, 2, 2), 3)


def test_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    floats = to_float(every)
    assert floats.dtype == torch.float32 and floats[0] == -1 and floats[255] == 1
    assert to_uint8(floats).equal(every)
    assert to_uint8(floats.bfloat16()).sub(every.float()).abs().max() <= 1
    assert to_uint8(torch.tensor([-3.0, 7.0, 0.0039])).tolist() == [0, 255, 128]
    points = torch.randn(4, 2)
    assert to_float(points) is points


# ---------------------------------------------------------------- hidden labels


def few_of_many() -> Images:
    """700, 200 and 100 examples of three classes, shuffled."""
    labels = torch.tensor([0] * 700 + [1] * 200 + [2] * 100)[torch.randperm(1000)]
    return Images(noise(1000, 1, 2, 2), labels, ("a", "b", "c"))


def test_of_each_class_as_many_keep_their_label():
    data = few_of_many()
    hidden = hide_labels(data, 60, seed=0)
    known = hidden.labels >= 0
    assert torch.bincount(hidden.labels + 1).tolist() == [940, 20, 20, 20]
    assert torch.equal(hidden.labels[known], data.labels[known]) and (hidden.labels[~known] == -1).all()
    assert hidden.pixels is data.pixels and hidden.names == data.names and hidden.num_classes == 3
    assert torch.bincount(data.labels).tolist() == [700, 200, 100]  # the original keeps its labels
    assert torch.bincount(hide_labels(data, 300, seed=0).labels + 1).tolist() == [700, 100, 100, 100]
    assert hide_labels(data, None, seed=0) is data


def test_the_seed_decides_who_keeps_a_label_and_nothing_else_does():
    data = few_of_many()
    state = torch.get_rng_state()
    first, again, other = (hide_labels(data, 30, seed).labels for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.get_rng_state().equal(state)
    assert torch.equal(hide_labels(data, 60, 1).labels[first >= 0], first[first >= 0])  # more labels: those, and others


def test_every_example_may_keep_its_label():
    """Over 400 seeds each of ten examples of a class keeps one of the two labels 80 times; 5 sigma are 40."""
    data = Images(torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64), ("a",))
    kept = sum((hide_labels(data, 2, seed).labels >= 0).int() for seed in range(400))
    assert kept.sum() == 800 and (kept - 80).abs().max() < 40


def test_labels_that_cannot_be_kept_are_refused():
    data = few_of_many()
    for some, keep, sentence in (
        (data._replace(names=()), 30, "labels=30 needs a dataset with classes, and this one has none"),
        (data, 40, "labels=40 cannot be shared equally by 3 classes: give a multiple"),
        (data, 303, "labels=303 asks for 101 examples of class c, which has 100: give less"),
    ):
        with pytest.raises(UsageError, match=sentence):
            hide_labels(some, keep, seed=0)


# ---------------------------------------------------------------- what a dataset may give


def given(pixels: torch.Tensor, labels: torch.Tensor | None = None, shape: tuple[int, ...] = (2,), kind=Images):
    labels = torch.tensor([0, 1, -1]) if labels is None else labels
    return SimpleNamespace(shape=shape, names=("a", "b"), load=lambda split: kind(pixels, labels, ("a", "b")))


def test_what_a_dataset_must_give_passes():
    nobody = torch.full((3,), -1)
    for right in (given(torch.zeros(3, 2)), given(noise(3, 1, 4, 4), nobody, shape=(1, 4, 4))):
        assert loaded(right, "test").shape == right.shape


def test_a_dataset_that_names_other_classes_once_loaded_is_refused():
    late = given(torch.zeros(3, 2))
    late.names = ()
    assert "names 2 classes, and dataset.names others" in refusal(loaded, late)


def test_a_dataset_without_what_must_be_known_is_named():
    assert "SimpleNamespace has no `names`" in refusal(promised, SimpleNamespace(shape=(2,), flip=False))


def test_a_dataset_that_gives_something_else_is_refused():
    points, labels = torch.zeros(3, 2), torch.tensor([0, 1, -1])
    must = "images must be uint8 (M, C, H, W), and points float32 (M, P)"
    for wrong, sentence in (
        (given(points.double()), f"gives torch.float64 (3, 2) as pixels: {must}"),
        (given(points.to(torch.uint8)), f"gives torch.uint8 (3, 2) as pixels: {must}"),
        (given(torch.zeros(3, 1, 4, 4), shape=(1, 4, 4)), f"gives torch.float32 (3, 1, 4, 4) as pixels: {must}"),
        (given(noise(3, 4, 4), shape=(4, 4)), f"gives torch.uint8 (3, 4, 4) as pixels: {must}"),
        (given(points[:, 0], shape=()), f"gives torch.float32 (3,) as pixels: {must}"),
        (given(points.numpy()), f"gives a ndarray as pixels: {must}"),
        (given(points, shape=(3,)), "gives examples of shape (2,), and dataset.shape says (3,): mend either"),
        (given(points, labels.int()), "gives torch.int32 (3,) as labels: they must be int64 (3,)"),
        (given(points, labels[:2]), "gives torch.int64 (2,) as labels: they must be int64 (3,)"),
        (given(points, labels[:, None]), "gives torch.int64 (3, 1) as labels: they must be int64 (3,)"),
        (given(points, labels + 1), "gives labels from 0 to 2: they must be below the number of names, 2"),
        (given(points, labels - 1), "gives labels from -2 to 0: they must be"),
        (given(points, kind=lambda *parts: parts), "gives a tuple: return gantool.game.types.Images(pixels, labels"),
    ):
        with pytest.raises(UsageError, match=re.escape(f"dataset.load('test') {sentence}")):
            loaded(wrong, "test")


# ---------------------------------------------------------------- fingerprints


def test_fingerprint_tells_sets_apart():
    pixels, labels = noise(20, 1, 4, 4), torch.arange(20)
    mark = fingerprint(Images(pixels, labels))
    assert len(mark) == 16 and int(mark, 16) >= 0
    assert fingerprint(Images(pixels.clone(), labels.clone())) == mark
    other = pixels.clone()
    other[13, 0, 2, 1] ^= 1
    variants = [
        Images(other, labels),
        Images(pixels.view(20, 4, 2, 2), labels),
        Images(pixels.view(torch.int8), labels),
        Images(pixels, labels.flip(0)),
        Images(pixels[:-1], labels[:-1]),
    ]
    assert len({mark, *map(fingerprint, variants)}) == 6
    assert fingerprint(Images(torch.randn(3, 2), labels[:3])) != fingerprint(Images(torch.randn(3, 2), labels[:3]))


def test_fingerprint_of_a_large_set_looks_at_examples_throughout(monkeypatch):
    for name, value in {"WHOLE": 1999, "SEEN": 100, "ROWS": 1}.items():
        monkeypatch.setattr(images, name, value)
    pixels = noise(1000, 2)  # every 20th is seen
    before = fingerprint(Images(pixels, torch.zeros(1000)))
    for seen, row in ((True, 980), (False, 979)):
        other = pixels.clone()
        other[row] += 1
        assert (fingerprint(Images(other, torch.zeros(1000))) != before) is seen
        monkeypatch.setattr(images, "WHOLE", 2000)
        assert fingerprint(Images(other, torch.zeros(1000))) != fingerprint(Images(pixels, torch.zeros(1000)))
        monkeypatch.setattr(images, "WHOLE", 1999)


def test_splits_have_their_own_random_numbers():
    state = torch.get_rng_state()
    draws = [torch.rand(3, generator=split_generator(seed, split)) for seed in (0, 1) for split in ("train", "test")]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4
    assert torch.get_rng_state().equal(state)
    for bad in (lambda: check_split("valid"), lambda: split_generator(0, "valid")):
        with pytest.raises(UsageError, match="no split 'valid'"):
            bad()
