"""Ctrl-C, SIGTERM and a closed terminal: what they stop at once, and what they wait for."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gantool.errors import Interrupted


class Abandoned(KeyboardInterrupt):
    """Work that can be repeated was given up."""


class Stop:
    """The first signal lets the step finish, but gives up what can be repeated; a second one is taken at its word.

    But SIGTERM twice within `ONE` second is one: to the whole group, say, and passed on by the parent as well.
    """

    ONE = 1.0

    def __init__(self) -> None:
        self.number = 0  # of the first signal
        self.heard = 0.0  # when
        self.repeatable = False
        self.previous: dict[signal.Signals, Any] = {}  # handlers

    def asked(self) -> bool:
        return bool(self.number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        try:
            for handled in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
                self.previous[handled] = signal.signal(handled, self._hear)
        except ValueError:  # not the main thread: some launchers; they have their own way to stop
            pass
        try:
            yield
        finally:
            self.listen_no_more()

    def listen_no_more(self) -> None:
        """What is left to be done may be cut short, and whoever runs several jobs hears of the signal."""
        while self.previous:
            signal.signal(*self.previous.popitem())

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Around work that can be repeated; raises Abandoned at a signal, also at one that came before."""
        if self.number:
            raise Abandoned
        try:
            self.repeatable = True
            yield
        finally:
            self.repeatable = False

    def _hear(self, number: int, frame: object) -> None:
        if number == self.number == signal.SIGTERM and time.monotonic() - self.heard < self.ONE:
            return
        if self.number:
            raise KeyboardInterrupt
        self.number, self.heard = number, time.monotonic()
        if self.repeatable:
            raise Abandoned


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Interrupted, so that what was begun is ended too, as at Ctrl-C."""

    def hear(number: int, frame: object) -> None:
        raise Interrupted("stopped by SIGTERM", 128 + number)

    try:
        previous = signal.signal(signal.SIGTERM, hear)
    except ValueError:  # not the main thread: see Stop
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
