"""Ctrl-C where the jobs of a sweep run in processes of their own: they hear it too, and are let to save."""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gantool.runs import status
from gantool.runs.folder import RunFolder

log = logging.getLogger(__name__)
LONGEST = 60.0  # seconds that are waited for a job, which may be compiling, or may not have heard
LOOK = 0.1  # seconds between looks


@contextmanager
def let_save(folders: Callable[[], Sequence[Path]]) -> Iterator[None]:
    """The first Ctrl-C ends what is launched here only when none of the jobs is running, which have these folders.

    joblib kills its workers as soon as it hears of it. Jobs that go on without us have no place among the folders.
    """

    def hear(number: int, frame: object) -> None:
        signal.signal(number, before)  # the second is taken at its word
        if any(map(_running, folders())):
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
