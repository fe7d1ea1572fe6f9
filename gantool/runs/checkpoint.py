"""One file a checkpoint: tensors and plain Python values in torch's zip, whose CRC-32 is the checksum.

A checkpoint may come from anybody, so nothing in it is ever executed: torch reads it with `weights_only=True`.
"""

import copy
import io
import logging
import pickle
import re
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch

from gantool.errors import UsageError
from gantool.runs import status
from gantool.runs.folder import RunFolder, write_atomically

FORMAT = "gantool-1"
_NAME = re.compile(r"step_(\d+)\.pt")
_PLAIN = (type(None), bool, int, float, str, bytes, torch.Tensor, torch.nn.Parameter)
log = logging.getLogger(__name__)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, marked with the format's version. Raises TypeError at a value that could not be read back."""
    _refuse_foreign(state, "state")
    buffer = io.BytesIO()  # first to memory: torch hides a full disk behind an error of its own
    torch.save({**state, "format": FORMAT}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def snapshot(value: Any) -> Any:
    """The same state on the CPU, as it is now, however it changes from now on. Waits for the device."""
    copied = _copied(value)
    if torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        pinned = value.is_cuda  # MPS too would copy later, and nobody would wait for it
        return value.detach().to("cpu", copy=True, non_blocking=pinned)
    if isinstance(value, dict):
        made = copy.copy(value)  # with what torch notes on an OrderedDict of state
        made.update({key: _copied(item) for key, item in value.items()})
        return made
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value


def load(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Verify and read. The UsageError says what is wrong: missing, truncated, corrupted, foreign, unsafe or too new."""
    verify(path)
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a stranger's bytes make torch raise
        unsafe = isinstance(error, pickle.UnpicklingError)
        why = "it holds something other than tensors and plain values" if unsafe else "it may come from another tool"
        raise UsageError(f"{path} was not loaded, for it is no gantool checkpoint: {why}") from error
    version = re.fullmatch(r"gantool-(\d+)", str(state.get("format"))) if isinstance(state, dict) else None
    if version is None:
        raise UsageError(f"{path} is no gantool checkpoint: it may come from another tool")
    if state["format"] != FORMAT:
        raise UsageError(
            f"{path} was written by a newer gantool, in format {state['format']}: upgrade gantool to read it"
        )
    return state


def verify(path: Path) -> None:
    """Read every byte against its checksum, without unpickling. Raises UsageError as `load` does."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(max(path.stat().st_size - 22, 0))
            end = file.read(4)
    except FileNotFoundError as error:
        raise UsageError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if end != b"PK\5\6" and start not in (b"", b"PK\3\4"):  # the marks of a zip's end and of its start
        raise UsageError(f"{path} is no gantool checkpoint: it may come from another tool")
    if end != b"PK\5\6":
        raise UsageError(f"the checkpoint {path} is truncated: choose an earlier one with checkpoint=STEP")
    if not _intact(path):
        raise UsageError(f"the checkpoint {path} is corrupted (wrong checksum): choose another with checkpoint=STEP")


def steps(folder: RunFolder) -> list[int]:
    """The steps at which there is a checkpoint, ascending."""
    names = (_NAME.fullmatch(path.name) for path in folder.checkpoints.glob("step_*.pt"))
    return sorted(int(name[1]) for name in names if name)


def choose(folder: RunFolder, which: Literal["last", "best"] | int) -> Path:
    """The checkpoint of a step, the best one, or the newest that is whole: one that a crash has cut is passed over."""
    if which == "last":
        return _last(folder)
    if which == "best":
        step = (status.read(folder).get("best") or {}).get("step")
        if step is None:
            raise UsageError(
                "no best checkpoint: best.metric was not set, or was finite in no row; use checkpoint=last"
            )
    elif isinstance(which, int):
        step = which
    else:
        raise UsageError(f"checkpoint must be last, best or a step, got {which}")
    path = folder.checkpoint(step)
    if not path.is_file():
        there = ", ".join(map(str, steps(folder))) or "none"
        raise UsageError(f"{folder.root} has no checkpoint of step {step}: there is {there}")
    return path


def keep(folder: RunFolder, last: int, best: int | None) -> None:
    """Delete all but the newest `last` (at least one), the best, and the one written last, which was just saved.

    That one need not have the highest step: a run may have gone on from an earlier checkpoint, the later being damaged.
    """
    there = steps(folder)
    if there:
        written = max(there, key=lambda step: (folder.checkpoint(step).stat().st_mtime_ns, step))
        for step in set(there) - set(there[-max(last, 1) :]) - {best, written}:
            folder.checkpoint(step).unlink(missing_ok=True)
    for leftover in folder.checkpoints.glob(".step_*.tmp"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)


def rewind(folder: RunFolder, step: int) -> None:
    """Forget the checkpoints and sample grids after `step`: a run that goes on from there will make its own.

    And what a process that was killed had begun to write.
    """
    for leftover in [*folder.checkpoints.glob(".*.tmp"), *folder.samples.glob(".*.tmp"), *folder.root.glob(".*.tmp")]:
        leftover.unlink(missing_ok=True)
    for path in [*folder.checkpoints.glob("step_*.pt"), *folder.samples.glob("step_*.png")]:
        with suppress(ValueError):  # another name that begins alike
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()


def _last(folder: RunFolder) -> Path:
    found = steps(folder)
    if not found:
        raise UsageError(f"{folder.root} has no checkpoint yet")
    for step in reversed(found):
        try:
            verify(folder.checkpoint(step))
        except UsageError as error:
            log.warning("passed over: %s", str(error).partition(": choose")[0])
            continue
        return folder.checkpoint(step)
    raise UsageError(
        f"none of the checkpoints in {folder.checkpoints} can be read: train again, or put a copy of one in their place"
    )


def _intact(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a flipped bit may meet any check of zipfile's, and each raises another class
        return False


def _refuse_foreign(value: Any, place: str) -> None:
    """TypeError, with the place, at what would not be read back. By exact type, for NumPy's float64 *is* a float."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _refuse_foreign(key, f"a key of {place}")
            _refuse_foreign(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _refuse_foreign(item, f"{place}[{index}]")
    elif type(value) not in _PLAIN:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{place} is a {kind}, which a checkpoint cannot hold")
