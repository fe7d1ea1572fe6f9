"""Generated points over real ones. Equal numbers give equal bytes."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gantool.runs.figures import FAKE, OTHERS, REAL, D, new_figure
from gantool.runs.folder import write_atomically
from gantool.runs.headings import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

SIDE = 480  # px
BOX = (0.125, 0.085, 0.83, 0.83)  # left, bottom, width and height of the axes, as shares of it
RADIUS, OPACITY = 1.5, 0.7  # px; of the mark of a generated point
WAYS = (D, FAKE, *OTHERS)  # of paths

Line = tuple[Any, Any, dict[str, Any]]  # x, y and how matplotlib is to draw it


class Page(NamedTuple):
    """What lies below the marks of generated points: axes, legend, real points and lines."""

    pixels: Any  # (SIDE, SIDE, 3), NumPy uint8
    low: float  # ends of both axes
    high: float


def scatter(
    points: "Tensor", reference: "Tensor | None", path: Path, joined: "Tensor | None" = None, row: int | None = None
) -> None:
    """Generated points (N, P) over real ones (M, P); of more than two dimensions the first two, of one the histograms.

    From each point of the plane a line goes to each of the K others in `joined` (N, K, P), or, where each `row` of so
    many is a path, to the next of its row, the rows in colours of their own.
    The ends of both axes follow from the real points, so that frames of a run agree.
    """
    from PIL import Image

    points = points.detach().float().cpu()
    fake = _finite(points)
    if fake.shape[1] == 1:
        pixels = _histograms(fake, None if reference is None else _finite(reference))
    else:
        lines = _ways(points, row) if row else [] if joined is None else _joints(points, joined)
        if reference is None or lines:
            page = _page(None if reference is None else _finite(reference), fake, lines, marks=not row)
        else:
            page = _page_of(reference)
        pixels = _noted(page, fake, page.pixels if row else _marked(page, fake))
    drawn = Image.fromarray(pixels)
    write_atomically(path, lambda file: drawn.save(file, "PNG", compress_level=3))


@lru_cache(maxsize=1)
def _page_of(reference: "Tensor") -> Page:
    """Once for all frames of a run: a training of small nets waits while matplotlib has Python. None may change it."""
    real = _finite(reference)
    return _page(real, real, [])


def _page(real: Any, fake: Any, lines: Sequence[Line], marks: bool = True) -> Page:
    """`marks`: generated points will be drawn, and not in `lines`."""
    low, high = _around(fake if real is None else real)
    figure, axes = _plane()
    if real is not None:
        axes.scatter(real[:, 0], real[:, 1], s=24, color="#cdd0d6", linewidths=0, label="real")
    if marks:
        axes.scatter([], [], s=5, color=FAKE, alpha=OPACITY, linewidths=0, label="generated")
    for across, up, style in lines:
        axes.plot(across, up, scalex=False, scaley=False, **style)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.ticklabel_format(scilimits=(-2, 4))  # short labels: there is room for seven characters
    axes.tick_params(labelsize=8)
    return Page(_pixels(figure), low, high)


def _ways(points: "Tensor", row: int) -> list[Line]:
    style = {"marker": ".", "linewidth": 1.2, "markersize": 5}
    told: Line = ([], [], style | {"color": "#777777", "label": f"generated, each {row} a path"})
    return [told] + [
        (way[:, 0].numpy(), way[:, 1].numpy(), style | {"color": WAYS[number % len(WAYS)]})
        for number, way in enumerate(points.split(row))
    ]


def _joints(points: "Tensor", joined: "Tensor") -> list[Line]:
    style = {"color": FAKE, "linewidth": 0.6, "alpha": 0.5}
    told: Line = ([], [], style | {"label": "to its nearest real"})
    ends = (([points[:, axis].numpy(), others[:, axis].numpy()] for axis in (0, 1)) for others in joined.unbind(dim=1))
    return [told] + [(across, up, style) for across, up in ends]


def _histograms(fake: Any, real: Any) -> Any:
    """Of (N, 1) and (M, 1): the pixels."""
    import numpy as np

    low, high = _around(fake if real is None else real)
    edges = np.linspace(low, high, 61).tolist()
    figure, axes = _plane()
    if real is not None:
        axes.hist(real[:, 0], edges, density=True, color=REAL, alpha=0.5, label="real")
    axes.hist(fake[:, 0], edges, density=True, color=FAKE, histtype="step", linewidth=1.5, label="generated")
    axes.set(xlim=(low, high), yticks=[])
    return _pixels(figure)


def _marked(page: Page, points: Any) -> Any:
    """Each point (N, 2) a disc. Where they lie on each other the page shines through as through so many films."""
    import numpy as np
    from PIL import ImageColor

    left, bottom, width, height = (SIDE * share for share in BOX)
    top = SIDE - bottom - height
    shares = (points - page.low) / (page.high - page.low)
    shares = shares[((shares >= 0) & (shares <= 1)).all(axis=1)]
    across, down = left + width * shares[:, 0], top + height * (1 - shares[:, 1])
    shine = np.ones((SIDE, SIDE))
    for right, below in product(range(-2, 3), repeat=2):  # the pixels that a disc may touch
        column, row = np.floor(across) + right, np.floor(down) + below
        cover = OPACITY * (RADIUS + 0.5 - np.hypot(column + 0.5 - across, row + 0.5 - down)).clip(0, 1)
        cover *= (column > left) & (column < left + width - 1) & (row > top) & (row < top + height - 1)
        np.multiply.at(shine, (row.astype(int), column.astype(int)), 1 - cover)
    pixels, touched = page.pixels.copy(), shine < 1
    through = shine[touched][:, None]
    pixels[touched] = (pixels[touched] * through + np.array(ImageColor.getrgb(FAKE)) * (1 - through)).round()
    return pixels


def _noted(page: Page, points: Any, pixels: Any) -> Any:
    """Says at the foot of the axes how many points (N, 2) lie outside them."""
    import numpy as np

    outside = int(((points < page.low) | (points > page.high)).any(axis=1).sum())
    if not outside:
        return pixels
    note = np.asarray(text_of(f"{outside} of {len(points)} generated points lie outside", longest=SIDE))
    left, bottom = round(SIDE * BOX[0]) + 8, round(SIDE * (1 - BOX[1])) - 8
    noted = pixels.copy()
    noted[bottom - note.shape[0] : bottom, left : left + note.shape[1]] = note[..., None]
    return noted


def _plane() -> "tuple[Figure, Axes]":
    figure = new_figure(SIDE / 100, SIDE / 100, fitted=False)  # to fit the axes would be to draw all twice
    return figure, figure.add_axes(BOX)


def _pixels(figure: "Figure") -> Any:
    """With its legend: (SIDE, SIDE, 3), NumPy uint8."""
    import numpy as np

    figure.legend(loc="upper right", ncols=3, fontsize=8, markerscale=1.5, frameon=False)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]  # Agg's


def _around(points: Any) -> tuple[float, float]:
    """Ends for both axes: what the points span, and a fifth of it more on each side."""
    if not points.size:
        return -1.0, 1.0
    low, high = float(points.min()), float(points.max())
    margin = 0.2 * (high - low) or max(1.0, 0.2 * abs(low))
    return low - margin, high + margin


def _finite(points: "Tensor") -> Any:
    """(N, P) -> NumPy (N, 1 or 2), float64, of the rows without NaN or infinity."""
    import numpy as np

    array = points.detach().float().cpu().numpy()[:, :2].astype(np.float64)
    return array[np.isfinite(array).all(axis=1)]
