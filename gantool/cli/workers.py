"""Ctrl-C where the jobs of a sweep run in processes of their own: they hear it too, and are let to save."""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gantool.runs import status
from gantool.runs.folder import RunFolder
from gantool.runs.resume import key_of

log = logging.getLogger(__name__)
LONGEST = 60.0  # seconds that are waited for a job, which may be compiling, or may not have heard
LOOK = 0.1  # seconds between looks


def are_ours(overrides: Sequence[str]) -> bool:
    """Will the jobs run in processes that end with this one? Those of a cluster go on without it."""
    chosen = {key_of(override): override.partition("=")[2] for override in overrides}
    return chosen.get("hydra/launcher") == "joblib"


@contextmanager
def let_save(folders: Callable[[], Sequence[Path]]) -> Iterator[None]:
    """The first Ctrl-C ends what is launched here only when none of the jobs is running, which have these folders.

    joblib kills its workers as soon as it hears of it.
    """

    def hear(number: int, frame: object) -> None:
        signal.signal(number, before)  # the second is taken at its word
        log.info("waiting for the jobs to save; Ctrl-C once more does not wait")
        until = time.monotonic() + LONGEST
        while any(map(_running, folders())) and time.monotonic() < until:
            time.sleep(LOOK)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _running(folder: Path) -> bool:
    return status.state_of(RunFolder(folder)) == "running"
