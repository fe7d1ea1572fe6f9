"""Rounds that are played once or a few times as they stand, then recorded, and from then on played from the record."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Protocol

log = logging.getLogger(__name__)

Play = Callable[[], None]  # one round
TOLD = 200  # characters of an error, whose first line may be empty


class Unfit(Exception):
    """Why a round cannot be recorded. Nothing was played: all is as it was, but for what Python keeps by itself."""


class Recorder(Protocol):
    """A way to record rounds."""

    name: str  # as in "rounds are played without NAME"
    rehearsals: int  # rounds of each kind that are played first

    def rehearse(self, play: Play, last: bool) -> str | None:
        """Plays a round; why it cannot be recorded, if that shows."""
        ...

    def record(self, play: Play) -> Play | None:
        """The same round from a record. None: it was played instead, and is to be recorded next time. Raises Unfit."""
        ...


class Rounds:
    """Plays rounds; each kind of them has a record of its own (see Game.begin).

    Where one cannot be recorded, none is: a line of the log says why, and all are played as they stand.
    """

    def __init__(self, play: Callable[[Hashable], None], recorder: Recorder):
        self.play, self.recorder = play, recorder
        self.records: dict[Hashable, Play] = {}
        self.played: Counter[Hashable] = Counter()
        self.reason: str | None = None  # why nothing is recorded

    def __call__(self, kind: Hashable) -> None:
        if kind in self.records:
            self.records[kind]()
        elif self.reason is not None:
            self.play(kind)
        elif self.played[kind] < self.recorder.rehearsals:
            self._rehearse(kind)
        else:
            self._record(kind)

    def _rehearse(self, kind: Hashable) -> None:
        self.played[kind] += 1
        reason = self.recorder.rehearse(lambda: self.play(kind), self.played[kind] == self.recorder.rehearsals)
        if reason is not None:
            self._give_up(reason)

    def _record(self, kind: Hashable) -> None:
        try:
            record = self.recorder.record(lambda: self.play(kind))
        except Unfit as unfit:
            self._give_up(str(unfit))
            self.play(kind)
            return
        if record is not None:
            self.records[kind] = record
            record()

    def _give_up(self, reason: str) -> None:
        self.reason = reason
        self.records.clear()
        log.info("rounds are played without %s: %s", self.recorder.name, reason)


def told(error: Exception) -> str:
    if isinstance(error, Unfit):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:TOLD]}{'...' * (len(text) > TOLD)}"
