"""Resizing, channels and fingerprints, against PIL and arithmetic by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from gantool.errors import UsageError
from gantool.game import images
from gantool.game.images import check_split, fingerprint, resize, split_generator, to_channels, to_float, to_uint8
from gantool.game.types import Images


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
    monkeypatch.setattr(images, "SEEN", 100)
    pixels = noise(1000, 2)  # every 20th is seen
    before = fingerprint(Images(pixels, torch.zeros(1000)))
    for seen, row in ((True, 980), (False, 979)):
        other = pixels.clone()
        other[row] += 1
        assert (fingerprint(Images(other, torch.zeros(1000))) != before) is seen


def test_splits_have_their_own_random_numbers():
    state = torch.get_rng_state()
    draws = [torch.rand(3, generator=split_generator(seed, split)) for seed in (0, 1) for split in ("train", "test")]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4
    assert torch.get_rng_state().equal(state)
    for bad in (lambda: check_split("valid"), lambda: split_generator(0, "valid")):
        with pytest.raises(UsageError, match="no split 'valid'"):
            bad()
