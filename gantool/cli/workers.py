"""Ctrl-C and SIGTERM where the jobs of a sweep run in processes of their own: they are let to save."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gantool.errors import Interrupted
from gantool.runs import status
from gantool.runs.folder import RunFolder

log = logging.getLogger(__name__)
LONGEST = 60.0  # seconds that are waited for a job, which may be compiling, or may not have heard
LOOK = 0.1  # seconds between looks


@contextmanager
def let_save(folders: Callable[[], Sequence[Path]]) -> Iterator[None]:
    """The first Ctrl-C ends what is launched here only when none of the jobs is running, which have these folders.

    joblib kills its workers as soon as it hears of it. A terminal sends them the Ctrl-C too; SIGTERM, which may have
    been sent to this process alone, is passed on. Jobs that go on without us have no place among the folders.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hear(number: int, frame: object) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)  # the second is taken at its word
        running = [folder for folder in folders() if _running(folder) and _process(folder) not in (None, os.getpid())]
        if running:
            log.info("waiting for the jobs to save; Ctrl-C once more does not wait")
        if number == signal.SIGTERM:
            for folder in running:
                with suppress(ProcessLookupError):
                    os.kill(_process(folder), number)  # type: ignore[arg-type]  # it is not None
        until = time.monotonic() + LONGEST
        while any(map(_running, running)) and time.monotonic() < until:
            time.sleep(LOOK)
        if number == signal.SIGTERM:
            raise Interrupted("stopped by SIGTERM", 128 + number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    try:
        for number in before:
            signal.signal(number, hear)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _process(folder: Path) -> int | None:
    """Whose job it is. With one at a time joblib runs them in this process, which stops as it does alone."""
    return status.read(RunFolder(folder)).get("pid")


def _running(folder: Path) -> bool:
    return status.state_of(RunFolder(folder)) == "running"
