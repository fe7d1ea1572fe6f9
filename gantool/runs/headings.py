"""Names of classes over the columns of a grid, or beside its rows."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

PADDING = 2  # px between cells
TEXT = 12  # px, the size of names
LONGEST = 20  # characters of a name


def headings(classes: Sequence[str], columns: int) -> tuple[list[str], list[str]]:
    """Names over the columns, or beside the rows; [] where they would not be true, or all are alike."""
    over = [classes[start::columns] for start in range(columns)]
    beside = [classes[start : start + columns] for start in range(0, len(classes), columns)]
    if len(set(classes)) < 2:
        return [], []
    if all(len(set(line)) == 1 for line in over):
        return [line[0] for line in over], []
    return [], [line[0] for line in beside] if all(len(set(line)) == 1 for line in beside) else []


def headed(sheet: "Image", over: list[str], beside: list[str], high: int, wide: int) -> "Image":
    """The sheet with names over its columns, upright where one is wider than they are, or beside its rows."""
    from PIL import Image

    texts = [text_of(name) for name in over or beside]
    if over and any(text.width > wide - PADDING for text in texts):
        texts = [text.transpose(Image.Transpose.ROTATE_90) for text in texts]
    top = max((text.height for text in texts), default=0) + 2 * PADDING if over else 0
    left = max((text.width for text in texts), default=0) + 2 * PADDING if beside else 0
    page = Image.new(sheet.mode, (sheet.width + left, sheet.height + top), "white")
    page.paste(sheet, (left, top))
    for index, text in enumerate(texts):
        across = index * wide + PADDING + (wide - PADDING - text.width) // 2 if over else left - PADDING - text.width
        down = top - PADDING - text.height if over else index * high + PADDING + (high - PADDING - text.height) // 2
        page.paste(text, (across, down))
    return page


def text_of(name: str, longest: int = LONGEST) -> "Image":
    """Black on white, as small as it can be; of long names the beginning."""
    from PIL import Image, ImageDraw

    name = "".join(letter if letter.isprintable() else " " for letter in name)
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    font = _font(name)
    measure = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox
    wide, high = measure((0, 0), name, font)[2], measure((0, 0), "Åg", font)[3]
    text = Image.new("L", (max(1, ceil(wide)), ceil(high)), "white")
    ImageDraw.Draw(text).text((0, 0), name, "black", font)
    return text


@cache
def _font(name: str) -> "FreeTypeFont":
    """Matplotlib's own, which has the letters of Europe; for others the first of the system's that has them all."""
    from PIL import ImageFont

    matplotlib = find_spec("matplotlib")  # which would take long to import
    assert matplotlib is not None and matplotlib.origin is not None
    own = ImageFont.truetype(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", TEXT)
    if _has(own, name):
        return own
    from matplotlib.font_manager import findSystemFonts

    for path in sorted(findSystemFonts()):
        with suppress(OSError):  # it is of a kind that FreeType cannot scale
            other = ImageFont.truetype(path, TEXT)
            if _has(other, name):
                return other
    return own


def _has(font: "FreeTypeFont", name: str) -> bool:
    """No letter of `name` looks like one that no font has."""
    missing = bytes(font.getmask("\U0010ffff"))
    return all(bytes(font.getmask(letter)) != missing for letter in name)
