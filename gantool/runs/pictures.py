"""Pictures of samples. Equal numbers give equal bytes, so that runs can be compared."""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.runs.figures import FAKE
from gantool.runs.folder import write_atomically
from gantool.runs.headings import PADDING, headed, headings, text_of
from gantool.runs.scatter import scatter

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

log = logging.getLogger(__name__)
CELL = 32  # px, the least side of a cell
FRAMES = 100  # the most frames that an animation keeps
FRAME_SIDE = 800  # px, the longest side of an animation
ROLL = 10_000  # ms, how long an animation takes from its first frame to its last
HOLD = 2000  # ms, how long an animation rests on its last frame


def picture(
    samples: "Tensor",
    path: Path,
    *,
    columns: int,
    reference: "Tensor | None" = None,
    classes: Sequence[str] | None = None,
    cell: int = CELL,
) -> None:
    """A grid of images (N, C, H, W), or a scatter plot of points (N, P) over the real ones in `reference`."""
    if samples.dim() == 4:
        grid(samples, columns, path, classes=classes, cell=cell)
    else:
        scatter(samples, reference, path)


def neighbours(
    samples: "Tensor", found: "Tensor", path: Path, *, columns: int, reference: "Tensor | None" = None
) -> None:
    """Samples (N, *data shape), `columns` in a row, each framed and followed by K examples `found` (N, K, *data shape).

    Of points, a scatter plot with a line from each sample to each of its examples.
    """
    import torch

    if samples.dim() != 4:
        scatter(samples, reference, path, joined=found)
        return
    group = 1 + found.shape[1]
    grid(torch.cat([samples[:, None], found], dim=1).flatten(0, 1), columns * group, path, framed=group)


def grid(
    images: "Tensor",
    columns: int,
    path: Path,
    framed: int | None = None,
    classes: Sequence[str] | None = None,
    cell: int = CELL,
) -> None:
    """Images (N, C, H, W), uint8 or float in [-1, 1], row by row as a PNG; of every `framed` the first has a frame.

    Small ones are enlarged by a whole factor, to `cell` pixels at least, without smoothing: a pixel stays a pixel.
    Of 2 channels the first is shown, of more than 3 the first three. Where all of a column, or else of a row, are of
    one of the `classes` (N,), it has its name.
    """
    import numpy as np
    from PIL import Image, ImageColor

    pixels = _pixels(images)
    if framed and pixels.shape[3] == 1:
        pixels = pixels.repeat(3, axis=3)
    amount, height, width, channels = pixels.shape
    columns = min(columns, amount)
    scale = max(1, -(-cell // min(height, width)))
    high, wide = height * scale + PADDING, width * scale + PADDING
    sheet = np.full((-(-amount // columns) * high + PADDING, columns * wide + PADDING, channels), 255, np.uint8)
    for index, image in enumerate(pixels.repeat(scale, axis=1).repeat(scale, axis=2)):
        top, left = index // columns * high + PADDING, index % columns * wide + PADDING
        if framed and index % framed == 0:
            sheet[top - PADDING : top + high, left - PADDING : left + wide] = ImageColor.getrgb(FAKE)
        sheet[top : top + height * scale, left : left + width * scale] = image
    drawn = Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)
    if classes:
        drawn = headed(drawn, *headings(classes, columns), high, wide)
    # runs of equal pixels are all that zlib finds in samples: as small as by its usual search, in a fifth of the time
    write_atomically(path, lambda file: drawn.save(file, "PNG", compress_type=zlib.Z_RLE))


def animation(frames: list[Path], path: Path) -> None:
    """Pictures named step_NUMBER in turn as a looping WebP that rests on the last; fewer than two are none.

    Of many, about a hundred are kept at even distances, the first and the last among them. Those of another size
    than the last (the grid was changed midway) are left out, and so are those that cannot be read.
    """
    there = [frame for frame in frames if frame.exists()]
    shown = [read for read in map(_frame, _evenly(there, FRAMES)) if read]
    shown = [frame for frame in shown if frame.size == shown[-1].size]
    if len(shown) > 1:
        first, *rest = shown
        each = min(max(round(ROLL / len(rest)), 20), 500)
        options = {"duration": [each] * len(rest) + [HOLD], "loop": 0, "quality": 85, "append_images": rest}
        write_atomically(path, lambda file: first.save(file, "WEBP", save_all=True, **options))


def _pixels(images: "Tensor") -> Any:
    """(N, C, H, W), uint8 or float in [-1, 1] -> NumPy (N, H, W, 1 or 3) uint8. By NumPy: see Writer."""
    import numpy as np

    pixels = images.detach()[:, : 3 if images.shape[1] >= 3 else 1].cpu().permute(0, 2, 3, 1).numpy()
    if pixels.dtype != np.uint8:
        pixels = ((np.nan_to_num(pixels, posinf=1, neginf=-1) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _evenly(frames: list[Path], most: int) -> list[Path]:
    """At most `most` of them, the first and the last included."""
    if len(frames) <= most:
        return frames
    return [frames[round(index * (len(frames) - 1) / (most - 1))] for index in range(most)]


def _frame(frame: Path) -> "Image | None":
    """The picture of a step, small enough, below the number of the step; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(frame) as image:
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # whatever is wrong with the file
        log.warning("left out of the animation: %s (%s)", frame, error)
        return None
    small.thumbnail((FRAME_SIDE, FRAME_SIDE))
    text = text_of(f"step {int(frame.stem.removeprefix('step_')):,}")
    page = Image.new("RGB", (small.width, small.height + text.height), "white")
    page.paste(text, (PADDING, 0))
    page.paste(small, (0, text.height))
    return page
