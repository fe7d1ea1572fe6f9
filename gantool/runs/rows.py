"""metrics.jsonl: one JSON object a line, one line a tick."""

import json
import math
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from gantool.errors import UsageError
from gantool.runs.folder import explained, write_atomically

_COUNTERS = ("step", "images", "component", "seconds", "images_per_second")
_LOSSES = ("d_loss", "g_loss")


class Rows:
    """The rows of one run. Nothing is kept open, so a killed process loses at most the row it was writing."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        line = json.dumps(plain(row), allow_nan=False) + "\n"
        with explained(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(line)

    def truncate(self, step: int) -> None:
        """Drop the rows after `step` and a half-written last line; the bytes of the others stay as they are."""
        if self.path.exists():
            kept = b"".join(line for line, row in _parsed(self.path) if row.get("step", 0) <= step)
            write_atomically(self.path, lambda file: file.write(kept))


def read(path: Path) -> list[dict[str, Any]]:
    """All rows, [] where there is no file; a half-written last line is passed over."""
    return [row for _, row in _parsed(path)] if path.exists() else []


def kind(column: str) -> Literal["counter", "loss", "player", "metric"]:
    """What a column tells: how far the run is, a loss, something else of one player (d_real, g_info), or a metric."""
    if column in _COUNTERS:
        return "counter"
    if column in _LOSSES:
        return "loss"
    return "player" if column.startswith(("d_", "g_")) else "metric"


def results(row: dict[str, Any]) -> dict[str, float]:
    """The losses and metrics of a row that have a number: what tables show of it."""
    shown = {name: value for name, value in row.items() if kind(name) in ("loss", "metric")}
    return {name: float(value) for name, value in shown.items() if isinstance(value, int | float)}


def plain(value: Any) -> Any:
    """The same in JSON's own types; NaN and infinity, which JSON lacks, become None. NumPy's numbers are welcome."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Integral):
        return value if isinstance(value, bool) else int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return value


def _parsed(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each whole line and its row."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UsageError(f"{path} is damaged: line {number} is not a JSON object; delete that line")
        rows.append((line, row))
    return rows
