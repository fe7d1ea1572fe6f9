"""A run that begins from a checkpoint of another, which stays as it is."""

import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from gantool.errors import Busy
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder, explained

log = logging.getLogger(__name__)


def begin(source: RunFolder, which: Literal["last", "best"] | int, folder: RunFolder) -> tuple[int, list[Path]]:
    """Copy what a run needs to go on in `folder` as `source` would from the chosen checkpoint: its step, the copies.

    Rows and grids of later steps are forgotten by whoever resumes it. Busy where the folder holds a run already.
    """
    if folder.status.exists() or folder.config.exists():
        raise Busy(
            f"{folder.root} holds a run already: give the branch of {source.root} another hydra.run.dir, or "
            f"go on with this one: gantool train resume={folder.root}"
        )
    chosen = checkpoint.choose(source, which)
    step = int(chosen.stem.removeprefix("step_"))
    best = checkpoint.load(chosen).get("best")  # so far: a later one may be the run's best by now
    kept = [chosen, *([source.checkpoint(best["step"])] if best and best["step"] < step else [])]
    grids = [path for path in sorted(source.samples.glob("step_*.png")) if path.name <= source.grid(step).name]
    copied: list[Path] = []
    try:
        for path in (*kept, *grids, source.rows, source.overrides, source.config):
            if path == chosen or path.is_file():
                copied.append(folder.root / path.relative_to(source.root))
                with explained(copied[-1]):
                    copied[-1].parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copied[-1])
    except BaseException:
        undo(copied)
        raise
    log.info("a branch of %s, from its step %d", source.root, step)
    return step, copied


def undo(copied: Iterable[Path]) -> None:
    """Remove the copies, and the folders that this leaves empty."""
    for path in copied:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
