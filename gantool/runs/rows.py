"""metrics.jsonl: one JSON object a line, one line a tick of the training, and one an evaluation."""

import errno
import json
import math
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO, Literal

from gantool.errors import UsageError
from gantool.runs.folder import explained, write_atomically

EVALUATED = "evaluated"  # when it was measured: a key of the rows of `gantool evaluate` alone
_COUNTERS = ("step", "images", "component", "seconds", "images_per_second")
_LOSSES = ("d_loss", "g_loss")


class Rows:
    """The rows of one run. Nothing is kept open, so a killed process loses at most the row it was writing."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """In one piece or not at all, so that a training and an evaluation may write at once."""
        line = json.dumps(plain(row), allow_nan=False).encode() + b"\n"
        with explained(self.path), open(self.path, "ab+", buffering=0) as file:
            _drop_half(file)
            written = file.write(line)
            if written < len(line):  # the disk is full
                file.truncate(file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, step: int, told: int) -> None:
        """Drop evaluations of steps after `step`, rows of the training after `told`, and a half-written last line.

        The bytes of the others stay as they are.
        """
        if self.path.exists():
            rows = _parsed(self.path)
            kept = b"".join(line for line, row in rows if row.get("step", 0) <= (step if EVALUATED in row else told))
            write_atomically(self.path, lambda file: file.write(kept))


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of the training, [] where there is no file; a half-written last line is passed over."""
    return [row for row in _all(path) if EVALUATED not in row]


def evaluations(path: Path) -> list[dict[str, Any]]:
    """The rows that `gantool evaluate` has added, in the order in which it did."""
    return [row for row in _all(path) if EVALUATED in row]


def _all(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in _parsed(path)] if path.exists() else []


def kind(column: str) -> Literal["counter", "loss", "player", "metric"]:
    """What a column tells: how far the run is, a loss, something else of one player (d_real, g_info), or a metric."""
    if column in _COUNTERS:
        return "counter"
    if column in _LOSSES:
        return "loss"
    return "player" if column.startswith(("d_", "g_")) else "metric"


def is_better(value: float | None, best: float | None, mode: str) -> bool:
    """Than the best so far, if there is one; what is not finite never is."""
    if value is None or not math.isfinite(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)


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


def _drop_half(file: BinaryIO) -> None:
    """Half a line that a killed process has left at the end. Whole files keep their size: somebody else may append."""
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


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
        if not isinstance(row.get("step", 0), int):
            raise UsageError(f"{path} is damaged: line {number} has no number as its step; delete that line")
        rows.append((line, row))
    return rows
