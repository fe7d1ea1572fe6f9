"""An image file, of whatever kind -> pixels of one size and mode."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

# Only these are tried, whatever a file is called: Pillow hands others (EPS) to programs outside.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
BATCH = 32  # files a thread takes at a time
AHEAD = 64  # batches that may wait for their turn

ORIENTATION = 0x0112  # the EXIF tag: how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_all(paths: Sequence[Path], resolution: int, channels: int) -> Iterator[np.ndarray | str]:
    """For each path, in order, its pixels (C, H, W), or the reason why there are none. In parallel, a little ahead."""
    pool = ThreadPoolExecutor()
    waiting: deque[Future[list[np.ndarray | str]]] = deque()
    try:
        for start in range(0, len(paths), BATCH):
            waiting.append(pool.submit(_batch, paths[start : start + BATCH], resolution, channels))
            if len(waiting) > AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decode(path: Path, resolution: int, channels: int) -> np.ndarray:
    """uint8 (C, H, W): upright, on white if transparent, the central square, by an antialiased bicubic filter.

    Of an animation the first frame. Raises whatever Pillow does on a broken file or one made to exhaust the memory.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.draft(None, (2 * resolution, 2 * resolution))  # a large JPEG need not be decoded in full
        image.load()
        flat = _flatten(image, "L" if channels == 1 else "RGB")
        held = _orientation(image)
    side, turn = min(flat.size), UPRIGHT.get(held)
    left = (flat.width - side + (held in (2, 3, 7, 8))) // 2  # whole pixels, half ones blur; the same of each that
    top = (flat.height - side + (held in (3, 4, 6, 7))) // 2  # shows the same, whichever axes are turned around
    small = flat.resize((resolution, resolution), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = np.asarray(small if turn is None else small.transpose(turn))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _batch(paths: Sequence[Path], resolution: int, channels: int) -> list[np.ndarray | str]:
    return [try_decode(path, resolution, channels) for path in paths]


def try_decode(path: Path, resolution: int, channels: int) -> np.ndarray | str:
    try:
        return decode(path, resolution, channels)
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, ...: Pillow names no closed list
        return " ".join(str(error).split()) or type(error).__name__


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Any mode -> L or RGB. Transparent images are laid on white, which most of them were drawn for."""
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    elif image.mode == "1":
        image = image.convert("L")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 and 32 bits, whole or floating -> L, by the full scale of the type and never by the image's own range.

    Where the type does not say it (32 bits), it is the smallest customary one that holds the brightest value.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    scales = {"I": (65535.0, 2.0**31 - 1), "F": (1.0, 255.0, 65535.0)}.get(image.mode, (65535.0,))
    peak = float(values.max())
    full = next((scale for scale in scales if peak <= scale), peak)
    return Image.fromarray((values / full * 255).round().clip(0, 255).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata are no reason to lose a picture
        return 1
