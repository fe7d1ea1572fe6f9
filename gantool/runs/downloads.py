"""Downloads by other libraries, which would wait for a silent server for ever."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 30.0  # seconds without an answer after which a download is given up


@contextmanager
def patience() -> Iterator[None]:
    """Connections made meanwhile give up after a while."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
