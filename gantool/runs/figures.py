"""Figures of matplotlib, and the colours of all that is plotted."""

from pathlib import Path
from typing import TYPE_CHECKING

from gantool.runs.folder import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REAL, FAKE, D, G = "#8a8f98", "#1f6fb4", "#d9592b", "#1f6fb4"
OTHERS = ("#2f8f5b", "#8a5fb0", "#c99a12", "#c2477f", "#3f9aa8", "#6b6b3a")


def new_figure(width: float, height: float, fitted: bool = True) -> "Figure":
    """Inches. Without pyplot, whose state is global: a figure of our own on the Agg canvas, in any thread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained" if fitted else None, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: "Figure", path: Path) -> None:
    """As PNG, without the name and version of the software, so that equal pictures are equal files."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
