"""Pictures of samples and of a training's course. Equal numbers give equal bytes, so that runs can be compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.runs.folder import write_atomically
from gantool.runs.rows import kind
from gantool.runs.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

PADDING = 2  # px between cells
CELL = 32  # px, the least side of a cell
SCATTER = 480  # px, the side of a scatter plot
FRAMES = 100  # the most frames that an animation keeps
FRAME_SIDE = 800  # px, the longest side of an animation
ROLL = 10_000  # ms, how long an animation takes from its first frame to its last
HOLD = 2000  # ms, how long an animation rests on its last frame

REAL, FAKE, D, G = "#8a8f98", "#1f6fb4", "#d9592b", "#1f6fb4"
OTHERS = ("#2f8f5b", "#8a5fb0", "#c99a12", "#c2477f", "#3f9aa8", "#6b6b3a")
SMOOTHED = 30  # points from which on a smoothed line is drawn over the raw one


def picture(samples: "Tensor", path: Path, *, columns: int, reference: "Tensor | None" = None) -> None:
    """A grid of images (N, C, H, W), or a scatter plot of points (N, P) over the real ones in `reference`."""
    if samples.dim() == 4:
        grid(samples, columns, path)
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


def grid(images: "Tensor", columns: int, path: Path, framed: int | None = None) -> None:
    """Images (N, C, H, W), uint8 or float in [-1, 1], row by row as a PNG; of every `framed` the first has a frame.

    Small ones are enlarged by a whole factor, to CELL pixels at least, without smoothing: a pixel stays a pixel.
    Of 2 channels the first is shown, of more than 3 the first three.
    """
    import numpy as np
    from PIL import Image, ImageColor

    pixels = _pixels(images)
    if framed and pixels.shape[3] == 1:
        pixels = pixels.repeat(3, axis=3)
    amount, height, width, channels = pixels.shape
    columns = min(columns, amount)
    scale = max(1, -(-CELL // min(height, width)))
    high, wide = height * scale + PADDING, width * scale + PADDING
    sheet = np.full((-(-amount // columns) * high + PADDING, columns * wide + PADDING, channels), 255, np.uint8)
    for index, image in enumerate(pixels.repeat(scale, axis=1).repeat(scale, axis=2)):
        top, left = index // columns * high + PADDING, index % columns * wide + PADDING
        if framed and index % framed == 0:
            sheet[top - PADDING : top + high, left - PADDING : left + wide] = ImageColor.getrgb(FAKE)
        sheet[top : top + height * scale, left : left + width * scale] = image
    drawn = Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)
    write_atomically(path, lambda file: drawn.save(file, "PNG"))


def scatter(points: "Tensor", reference: "Tensor | None", path: Path, joined: "Tensor | None" = None) -> None:
    """Generated points (N, P) over real ones (M, P); of more than two dimensions the first two, of one the histograms.

    From each point of the plane a line goes to each of the K others in `joined` (N, K, P).
    The ends of both axes follow from the real points, so that frames of a run agree.
    """
    figure = new_figure(SCATTER / 100, SCATTER / 100)
    axes = figure.add_subplot()
    fake, real = _finite(points), None if reference is None else _finite(reference)
    if fake.shape[1] == 1:
        _histograms(axes, fake[:, 0], None if real is None else real[:, 0])
    else:
        _cloud(axes, fake, real)
        for others in () if joined is None else joined.unbind(dim=1):
            ends = ([points[:, axis].numpy(), others[:, axis].numpy()] for axis in (0, 1))
            axes.plot(*ends, color=FAKE, linewidth=0.6, alpha=0.5, scalex=False, scaley=False)
    axes.legend(loc="upper right", fontsize=8, markerscale=1.5, framealpha=0.9)
    write_figure(figure, path)


def animation(frames: list[Path], path: Path) -> None:
    """The pictures in turn as a looping WebP that rests on the last; nothing is written for fewer than two.

    Of many, about a hundred are kept at even distances, the first and the last among them. Those of another size
    than the last (the grid was changed midway) are left out.
    """
    shown = [_frame(frame) for frame in _evenly([frame for frame in frames if frame.exists()], FRAMES)]
    shown = [frame for frame in shown if frame.size == shown[-1].size]
    if len(shown) > 1:
        first, *rest = shown
        each = min(max(round(ROLL / len(rest)), 20), 500)
        options = {"duration": [each] * len(rest) + [HOLD], "loop": 0, "quality": 85, "append_images": rest}
        write_atomically(path, lambda file: first.save(file, "WEBP", save_all=True, **options))


def curves(rows: list[dict[str, Any]], path: Path) -> None:
    """The columns of metrics.jsonl over the steps: losses, what D says, penalties, metrics, speed. No rows, no file."""
    panels = _panels(rows)
    if not panels:
        return
    wide = min(len(panels), 2)
    high = -(-len(panels) // wide)
    figure = new_figure(5.4 * wide, 2.9 * high + 0.3)
    for index, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(high, wide, index + 1)
        for name, (label, colour) in names.items():
            _line(axes, rows, name, label, colour, raw=title == name)
        _dress(axes, title, rows, top=index < wide, bottom=index >= len(panels) - wide)
    if len(rows) >= SMOOTHED:
        figure.supxlabel("faint: as measured; bold: running median", fontsize=8, color="#777777", x=0.99, ha="right")
    write_figure(figure, path)


def _panels(rows: list[dict[str, Any]]) -> dict[str, dict[str, tuple[str, str]]]:
    """Title -> column -> (label, colour), for columns with a number somewhere. A metric has a panel of its own."""
    filled = [name for name in dict.fromkeys(name for row in rows for name in row) if _steps_and_values(rows, name)[0]]
    players = {"losses": {"d_loss": ("discriminator", D), "g_loss": ("generator", G)}}
    for title, name in (("D's accuracy", "d_accuracy"), ("D's mean output", "d")):
        players[title] = {f"{name}_real": ("on real", REAL), f"{name}_fake": ("on fake", FAKE)}
    players["gradient norms"] = {"d_grad_norm": ("discriminator", D), "g_grad_norm": ("generator", G)}
    taken = {name for names in players.values() for name in names}
    terms = [name for name in filled if name not in taken and kind(name) == "player"]
    colours = dict(zip(terms, OTHERS * len(terms), strict=False))
    players["penalties and other terms"] = {name: (f"{name[0].upper()}: {name[2:]}", colours[name]) for name in terms}
    metrics = {name: {name: (name, OTHERS[1])} for name in filled if kind(name) == "metric"}
    panels = players | metrics | {"images/s": {"images_per_second": ("images/s", OTHERS[0])}}
    panels = {title: {name: names[name] for name in names if name in filled} for title, names in panels.items()}
    return {title: names for title, names in panels.items() if names}


def _line(axes: "Axes", rows: list[dict[str, Any]], name: str, label: str, colour: str, raw: bool) -> None:
    """The column as it is, and, where there is much of it, faintly with its running median in front."""
    steps, values = _steps_and_values(rows, name)
    if raw or len(values) < SMOOTHED:
        marker = "o" if len(values) <= 50 else ""
        axes.plot(steps, values, color=colour, label=label, linewidth=1.4, marker=marker, markersize=3)
    else:
        axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(steps, _running_median(values), color=colour, label=label, linewidth=1.6)


def _dress(axes: "Axes", title: str, rows: list[dict[str, Any]], top: bool, bottom: bool) -> None:
    """Title, grid, legend; steps below, images seen above the first panels."""
    axes.set_title(title, fontsize=10, fontweight="bold", loc="left")
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.spines[["right", "top"]].set_visible(False)
    axes.xaxis.set_major_formatter(_tick)
    if title == "D's accuracy":
        axes.set_ylim(-0.03, 1.03)
        axes.axhline(0.5, color="#444444", linewidth=0.8, linestyle=":")
    elif title == "losses":
        _cut_spikes(axes)
    elif title == "images/s":
        axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[1] != [title]:
        axes.legend(fontsize=8, framealpha=0.8)
    if bottom:
        axes.set_xlabel("step", fontsize=9)
    first, last = rows[0]["step"], rows[-1]["step"]
    margin = 0.03 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    if top and rows[-1].get("images") and last:
        ratio = rows[-1]["images"] / last
        above = axes.secondary_xaxis("top", functions=(lambda step: step * ratio, lambda image: image / ratio))
        above.tick_params(labelsize=7, colors="#777777", length=2)
        above.xaxis.set_major_formatter(_tick)
        above.set_xlabel("images", fontsize=7, color="#777777", loc="right", labelpad=2)


def _tick(value: float, _position: object) -> str:
    return count(value, digits=6)  # ticks of a short stretch differ late


def _cut_spikes(axes: "Axes") -> None:
    """A view of the losses that a few spikes do not flatten: 99 of 100 values, and all of the running medians."""
    import numpy as np

    low, high = np.inf, -np.inf
    for line in axes.lines:
        values = np.asarray(line.get_ydata())
        ends = np.percentile(values, (0.5, 99.5) if line.get_alpha() else (0, 100))
        low, high = min(low, ends[0]), max(high, ends[1])
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)


def _steps_and_values(rows: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    pairs = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float) and "step" in row]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _running_median(values: list[float]) -> Any:
    """Over a twentieth of the values around each, 101 at most. Unlike a mean it makes no plateau of a spike."""
    import numpy as np

    half = min(len(values) // 40, 50)
    padded = np.pad(np.asarray(values, dtype=float), half, mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def _histograms(axes: "Axes", fake: Any, real: Any) -> None:
    import numpy as np

    low, high = _around(fake if real is None else real)
    edges = np.linspace(low, high, 61).tolist()
    if real is not None:
        axes.hist(real, edges, density=True, color=REAL, alpha=0.5, label="real")
    axes.hist(fake, edges, density=True, color=FAKE, histtype="step", linewidth=1.5, label="generated")
    axes.set(xlim=(low, high), yticks=[])


def _cloud(axes: "Axes", fake: Any, real: Any) -> None:
    if real is not None:
        axes.scatter(real[:, 0], real[:, 1], s=24, color="#cdd0d6", linewidths=0, label="real")
    axes.scatter(fake[:, 0], fake[:, 1], s=5, color=FAKE, alpha=0.7, linewidths=0, label="generated")
    low, high = _around(fake if real is None else real)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.tick_params(labelsize=8)
    outside = int(((fake[:, :2] < low) | (fake[:, :2] > high)).any(axis=1).sum())
    if outside:
        note = f"{outside} of {len(fake)} generated points lie outside"
        axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=8)


def _around(points: Any) -> tuple[float, float]:
    """Ends for both axes: what the points span, and a fifth of it more on each side."""
    if not points.size:
        return -1.0, 1.0
    low, high = float(points.min()), float(points.max())
    margin = 0.2 * (high - low) or 1.0
    return low - margin, high + margin


def _finite(points: "Tensor") -> Any:
    """(N, P) -> NumPy (N, 1 or 2) of the rows without NaN or infinity."""
    import numpy as np

    array = points.detach().float().cpu().numpy()[:, :2]
    return array[np.isfinite(array).all(axis=1)]


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


def _frame(frame: Path) -> "Image":
    from PIL import Image

    with Image.open(frame) as image:
        small = image.convert("RGB")
    small.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return small


def new_figure(width: float, height: float) -> "Figure":
    """Inches. Without pyplot, whose state is global: a figure of our own on the Agg canvas, in any thread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: "Figure", path: Path) -> None:
    """As PNG, without the name and version of the software, so that equal pictures are equal files."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
