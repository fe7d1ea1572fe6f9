"""A run's folder belongs to one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gantool.errors import Busy
from gantool.runs import status
from gantool.runs.folder import RunFolder, explained


@contextmanager
def claimed(folder: RunFolder) -> Iterator[None]:
    """Makes the folder and locks it for this process. Raises Busy where another process of this machine works in it.

    The lock is on the folder itself, so that it leaves no file, and the system lifts it with the end of the process,
    whatever that is. A file system without such locks (NFS) leaves it to status.json to tell who is at work.
    """
    with explained(folder.root):
        folder.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.root, os.O_RDONLY)
    try:
        if not _locked(lock):
            status.refuse_busy(folder)  # which knows the process, once it has begun
            raise Busy(f"{folder.root} is in use by another process: let it end, or stop it")
        status.refuse_busy(folder)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """False where another process has it."""
    with suppress(OSError):  # no locks here
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
