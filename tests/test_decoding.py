"""Every kind of image file, decoded to pixels of one size and mode."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantool.datasets.folder_decoding import decode
from image_files import BLUE, GREEN, RED, WHITE, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def ramp() -> Image.Image:
    """Colour that differs in all four corners."""
    y, x = np.mgrid[0:24, 0:24]
    return Image.fromarray(np.stack([x * 10, y * 10, 255 - x * 5 - y * 5], axis=2).astype(np.uint8))


@pytest.mark.parametrize("size", [(30, 30), (63, 40), (33, 90), (5, 7)])
def test_decoding_is_the_central_square_resized_by_pil(root, size):
    image = ramp().resize(size)
    image.save(root / "a.png")
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    expected = image.resize((16, 16), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    assert np.array_equal(decode(root / "a.png", 16, 3), np.asarray(expected).transpose(2, 0, 1))
    error = decode(root / "a.png", 16, 1)[0].astype(int) - np.asarray(expected.convert("L"))
    assert abs(error).max() <= 1


def test_what_has_the_size_is_cut_out_and_not_resized(root):
    noise = np.random.default_rng(0).integers(0, 256, (16, 19, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a.png")
    assert np.array_equal(decode(root / "a.png", 16, 3), noise[:, 1:17].transpose(2, 0, 1))


def test_a_large_jpeg_decoded_small_is_the_same_picture(root):
    image = ramp().resize((1211, 803), Image.Resampling.BICUBIC)
    image.save(root / "a.jpg", quality=95)
    expected = image.resize((32, 32), Image.Resampling.BICUBIC, box=(204, 0, 1007, 803))
    error = decode(root / "a.jpg", 32, 3).astype(int) - np.asarray(expected).transpose(2, 0, 1)
    assert abs(error).max() <= 6 and abs(error).mean() < 1.5


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_held_askew(root, suffix, orientation):
    """What is saved turned, with the tag that says so, comes out upright."""
    T = Image.Transpose  # the turn that each tag's own turn undoes
    undo = [
        None,
        T.FLIP_LEFT_RIGHT,
        T.ROTATE_180,
        T.FLIP_TOP_BOTTOM,
        T.TRANSPOSE,
        T.ROTATE_90,
        T.TRANSVERSE,
        T.ROTATE_270,
    ]
    upright = ramp()
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (2, 27, 27, 3), dtype=np.uint8)
    for pixels in (noise[0, :24], noise[1, :, :24]):  # of which one row or column more is cut off at the end
        cut = Image.fromarray(pixels)
        cut = cut if orientation == 1 else cut.transpose(undo[orientation - 1])
        cut.save(root / "cut.png", exif=exif)
        first = pixels[1:25, :24] if len(pixels) == 27 else pixels[:, 1:25]
        assert np.array_equal(decode(root / "cut.png", 24, 3), first.transpose(2, 0, 1))
    turned = upright if orientation == 1 else upright.transpose(undo[orientation - 1])
    turned.save(root / f"a.{suffix}", exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    error = decode(root / f"a.{suffix}", 24, 3).astype(int) - np.asarray(upright).transpose(2, 0, 1)
    assert abs(error).mean() < 4


def test_broken_metadata_are_no_reason_to_skip(root):
    save(root / "a.jpg", exif=b"Exif\x00\x00garbage that is no TIFF header")
    assert decode(root / "a.jpg", 8, 3)[:, 4, 4].tolist() == pytest.approx(RED, abs=3)


def rgba(alpha: int) -> Image.Image:
    return Image.new("RGBA", (16, 16), (200, 0, 100, alpha))


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 0, 100])
    if transparent:
        image.info["transparency"] = 1
    return image


def deep(value: int) -> Image.Image:
    return Image.fromarray(np.full((16, 16), value, np.uint16))


MODES = {
    "opaque.png": (rgba(255), (200, 0, 100)),
    "clear.png": (rgba(0), WHITE),
    "half.png": (rgba(128), (227, 127, 177)),
    "half.webp": (rgba(128), (227, 127, 177)),
    "grey_alpha.png": (Image.new("LA", (16, 16), (100, 0)), WHITE),
    "palette.png": (palette(False), (200, 0, 100)),
    "palette_clear.png": (palette(True), WHITE),
    "palette.gif": (palette(False), (200, 0, 100)),
    "palette_clear.gif": (palette(True), WHITE),
    "grey.jpg": (Image.new("L", (16, 16), 77), (77, 77, 77)),
    "bilevel.png": (Image.new("1", (16, 16), 1), WHITE),
    "cmyk.jpg": (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), RED),
    "cmyk.tif": (Image.new("CMYK", (16, 16), (0, 0, 0, 127)), (128, 128, 128)),
    "ycbcr.tif": (Image.new("RGB", (16, 16), BLUE).convert("YCbCr"), BLUE),
    "deep.png": (deep(0x8080), (128, 128, 128)),
    "deep_dark.png": (deep(0x0180), (1, 1, 1)),
    "deep.tif": (deep(0x4040), (64, 64, 64)),
    "deep_black.tif": (deep(0), (0, 0, 0)),
    "long.tif": (Image.fromarray(np.full((16, 16), 0x8080, np.int32)), (128, 128, 128)),
    "longer.tif": (Image.fromarray(np.full((16, 16), 2**30, np.int32)), (128, 128, 128)),
    "negative.tif": (Image.fromarray(np.full((16, 16), -5, np.int32)), (0, 0, 0)),
    "float_unit.tif": (Image.fromarray(np.full((16, 16), 0.5, np.float32)), (128, 128, 128)),
    "float_byte.tif": (Image.fromarray(np.full((16, 16), 50, np.float32)), (50, 50, 50)),
    "float_deep.tif": (Image.fromarray(np.full((16, 16), 0x3232, np.float32)), (50, 50, 50)),
    "float_nan.tif": (
        Image.fromarray(np.pad(np.full((15, 16), 0.5, np.float32), ((1, 0), (0, 0)), constant_values=np.nan)),
        (128, 128, 128),
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(root, name):
    image, colour = MODES[name]
    image.save(root / name, **({"quality": 100} if name.endswith(("jpg", "webp")) else {}))
    for channels, expected in ((3, colour), (1, [np.dot(colour, (0.299, 0.587, 0.114))])):
        pixels = decode(root / name, 8, channels)
        assert pixels.dtype == np.uint8 and pixels.shape == (channels, 8, 8)
        assert pixels[:, 4, 4].tolist() == pytest.approx(expected, abs=3)


def test_deep_images_are_not_stretched(root):
    values = np.linspace(20000, 40000, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(values).save(root / "a.png")
    assert decode(root / "a.png", 16, 1)[0] == pytest.approx(values / 65535 * 255, abs=0.51)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "mpo"])
def test_of_an_animation_the_first_frame(root, suffix):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(root / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert decode(root / f"a.{suffix}", 8, 3)[:, 4, 4].tolist() == pytest.approx(RED, abs=3)
