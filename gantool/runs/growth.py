"""How the cost of a step grows: a picture of a sweep of `gantool bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

from gantool.runs.figures import OTHERS, D, new_figure, write_figure

if TYPE_CHECKING:
    from gantool.runs.sweep import Setting, Summary

PANELS = ("images/s", "ms/step", "MiB")
COLOURS = (D, *OTHERS)
Lines = dict[str, list[tuple[float, dict[str, float]]]]  # the other settings -> the value on the axis, and the columns


def draw(summary: "Summary", path: Path) -> bool:
    """Each figure of the table over the setting with the most numbers, a line for each choice of the others.

    False, and no picture, where no number was varied.
    """
    key, lines = grown(summary.settings)
    if not key:
        return False
    ticks = sorted({x for points in lines.values() for x, _ in points})
    figure = new_figure(4.2 * len(PANELS), 3.6)
    for number, column in enumerate(PANELS, start=1):
        axes = figure.add_subplot(1, len(PANELS), number)
        for colour, (name, points) in zip(COLOURS * len(lines), lines.items(), strict=False):
            values = [(x, row[column]) for x, row in points if column in row]
            axes.plot(*zip(*values, strict=True), "o-", color=colour, markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(key)
        axes.set_title(column, fontsize=10)
        axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    write_figure(figure, path)
    return True


def grown(settings: list["Setting"]) -> tuple[str, Lines]:
    """The key on the axis, "" where there is none, and the lines over it."""
    named = [dict(part.split("=", 1) for part in each.name.split(" ") if "=" in part) for each in settings]
    values = {key: {_number(one.get(key, "")) for one in named} for one in named for key in one}
    numeric = [key for key, found in values.items() if None not in found and len(found) > 1]
    if not numeric:
        return "", {}
    axis = max(numeric, key=lambda key: len(values[key]))
    lines: Lines = {}
    for one, setting in zip(named, settings, strict=True):
        name = " ".join(f"{key}={value}" for key, value in one.items() if key != axis)
        row = {column: figure.mean for column, figure in setting.figures.items() if figure.mean is not None}
        if row:
            lines.setdefault(name, []).append((float(one[axis]), row))
    return axis, {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
