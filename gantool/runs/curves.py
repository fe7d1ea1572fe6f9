"""Curves of a training's course, of one run and of several. Equal numbers give equal bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from gantool.runs.figures import FAKE, OTHERS, REAL, D, G, new_figure, write_figure
from gantool.runs.rows import kind
from gantool.runs.text import count, played

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHED = 30  # points from which on a smoothed line is drawn over the raw one
PANEL = 5.4, 2.9  # inches that each takes: to fit a layout to what is drawn takes as long as to draw it
LETTERS = 70  # of a line of the title, above one panel
STYLES = ("-", "--", ":", "-.")  # of lines, where there are more than colours
COLOURS = (D, G, *OTHERS)
Rows = list[dict[str, Any]]


def draw(rows: list[dict[str, Any]], path: Path, title: str = "") -> None:
    """The columns of metrics.jsonl over the steps: losses, what D says, penalties, metrics, speed. No rows, no file."""
    panels = _panels(rows)
    if not panels:
        return
    wide = min(len(panels), 2)
    high = -(-len(panels) // wide)
    lines = wrap(title, LETTERS * wide)
    width, height = PANEL[0] * wide, PANEL[1] * high + 0.7 + 0.2 * len(lines)
    figure = new_figure(width, height, fitted=False)
    figure.suptitle("\n".join(lines), fontsize=10, x=0.08 / width, y=1 - 0.06 / height, ha="left", va="top")
    for index, (heading, names) in enumerate(panels.items()):
        left, bottom = PANEL[0] * (index % wide) + 0.7, PANEL[1] * (high - 1 - index // wide) + 0.6
        axes = figure.add_axes((left / width, bottom / height, (PANEL[0] - 0.85) / width, (PANEL[1] - 0.65) / height))
        for name, (label, colour) in names.items():
            _line(axes, rows, name, label, colour, raw=heading == name)
        _dress(axes, heading, rows, top=index < wide, bottom=index >= len(panels) - wide)
    if len(rows) >= SMOOTHED:
        figure.supxlabel(
            "faint: as measured; bold: running median", fontsize=8, color="#777777", x=0.99, y=0.06 / height, ha="right"
        )
    write_figure(figure, path)


def title_of(facts: Mapping[str, Any]) -> str:
    """Of a run's status: `ring, mlp, non_saturating with ema, seed 0`."""
    tricks = " and ".join(facts.get("tricks") or ())
    game = f"{played(facts)} with {tricks}" if tricks else played(facts)
    named = [facts.get("dataset"), facts.get("architecture"), game]
    seed = [] if facts.get("seed") is None else [f"seed {facts['seed']}"]
    return ", ".join([str(one) for one in named if one] + seed)


def compare(settings: Mapping[str, Sequence[Rows]], path: Path) -> bool:
    """Metrics, losses and speed over the steps: a line a setting, the mean of its runs, in a band from least to most.

    Of much, running medians. False, and no picture, where there is nothing to draw.
    """
    found = {name: [rows for rows in runs if rows] for name, runs in settings.items() if any(runs)}
    seen = list(dict.fromkeys(column for runs in found.values() for rows in runs for row in rows for column in row))
    chosen = [column for sort in ("metric", "loss") for column in seen if kind(column) == sort] + ["images_per_second"]
    every = [rows for runs in found.values() for rows in runs]
    panels = [column for column in chosen if any(_steps_and_values(rows, column)[0] for rows in every)]
    if not panels:
        return False
    wide = min(len(panels), 3)
    high = -(-len(panels) // wide)
    figure = new_figure(4.2 * wide, 2.7 * high + 0.21 * len(found) + 0.2)
    lines: dict[str, Any] = {}
    for index, column in enumerate(panels):
        axes = figure.add_subplot(high, wide, index + 1)
        for number, (name, runs) in enumerate(found.items()):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}
            drawn = _band(axes, runs, column, style)
            lines |= {name: drawn} if drawn else {}
        _count_whole(axes)
        _frame(axes, column.replace("_per_second", "/s"), bottom=index >= len(panels) - wide)
    several = any(len(runs) > 1 for runs in found.values())
    labels = [f"{name} (runs: {len(found[name])})" if several else name for name in lines]
    figure.legend(list(lines.values()), labels, loc="outside upper left", fontsize=8, frameon=False)
    if several:
        note = "line: mean of the runs; band: least to most"
        figure.supxlabel(note, fontsize=8, color="#777777", x=0.99, ha="right")
    write_figure(figure, path)
    return True


def _band(axes: "Axes", runs: Sequence[Rows], column: str, style: dict[str, Any]) -> Any:
    """The mean of the runs at each step, and their extremes; the line, None where none has the column."""
    import numpy as np

    drawn = [(steps, _smooth(values)) for steps, values in (_steps_and_values(rows, column) for rows in runs) if steps]
    if not drawn:
        return None
    steps = np.unique([step for steps, _ in drawn for step in steps])
    values = np.stack([np.interp(steps, *each, left=np.nan, right=np.nan) for each in drawn])
    axes.fill_between(steps, np.nanmin(values, 0), np.nanmax(values, 0), color=style["color"], alpha=0.15, linewidth=0)
    marker = "o" if len(steps) <= 20 else ""
    (line,) = axes.plot(steps, np.nanmean(values, 0), **style, linewidth=1.5, marker=marker, markersize=3)
    return line


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
        axes.plot(steps, _smooth(values), color=colour, label=label, linewidth=1.6)


def _dress(axes: "Axes", title: str, rows: list[dict[str, Any]], top: bool, bottom: bool) -> None:
    """Title, grid, legend; steps below, images seen above the first panels."""
    _frame(axes, title, bottom)
    measured = [row[title] for row in rows if title in row]
    if None in measured:  # such as a divergence that was infinite
        told = f"no number in {measured.count(None)} of {len(measured)}"
        axes.set_title(told, fontsize=8, color="#777777", loc="right")
    if title == "D's accuracy":
        axes.set_ylim(-0.03, 1.03)
        axes.axhline(0.5, color="#444444", linewidth=0.8, linestyle=":")
    elif title == "losses":
        _cut_spikes(axes)
    if axes.get_legend_handles_labels()[1] != [title]:
        axes.legend(fontsize=8, framealpha=0.8)
    _count_whole(axes)
    first, last = rows[0]["step"], rows[-1]["step"]
    margin = 0.03 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    if top and rows[-1].get("images") and last:
        ratio = rows[-1]["images"] / last
        above = axes.secondary_xaxis("top", functions=(lambda step: step * ratio, lambda image: image / ratio))
        above.tick_params(labelsize=7, colors="#777777", length=2)
        above.xaxis.set_major_formatter(_tick)
        above.set_xlabel("images", fontsize=7, color="#777777", loc="right", labelpad=2)


def _frame(axes: "Axes", title: str, bottom: bool) -> None:
    axes.set_title(title, fontsize=10, fontweight="bold", loc="left")
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.spines[["right", "top"]].set_visible(False)
    axes.xaxis.set_major_formatter(_tick)
    if title == "images/s":
        axes.set_ylim(bottom=0)
    if bottom:
        axes.set_xlabel("step", fontsize=9)


def _count_whole(axes: "Axes") -> None:
    """Ticks at whole numbers for what is counted, such as modes."""
    from matplotlib.ticker import MaxNLocator

    values: list[float] = [value for line in axes.lines for value in line.get_ydata() if value == value]  # type: ignore
    if len({*values}) > 1 and all(value % 1 == 0 for value in values):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))


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


def _smooth(values: list[float]) -> Any:
    """Of many the median over a twentieth of them around each, 101 at most; a mean would make a plateau of a spike."""
    import numpy as np

    if len(values) < SMOOTHED:
        return values
    half = min(len(values) // 40, 50)
    padded = np.pad(np.asarray(values, dtype=float), half, mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
