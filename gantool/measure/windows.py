"""Contenders that take turns, so that a machine that is busy for a while is busy for all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Window(NamedTuple):
    """What a contender did in its turn."""

    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds


class Contender(Protocol):
    def window(self, seconds: float) -> Window:
        """Whole steps for about so long, and then at rest."""
        ...


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float

    def scaled(self, factor: float) -> "Spread":
        return Spread(factor * self.low, factor * self.median, factor * self.high)


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float,  # of a window
    pause: float = 0.0,  # seconds between windows, in which loaders fill their queues
    told: Callable[[int], None] = lambda rounds: None,  # after each round
) -> list[list[Window]]:
    """The windows of each contender, one a round. Who begins changes from round to round."""
    windows: list[list[Window]] = [[] for _ in contenders]
    for number in range(rounds):
        order = list(range(len(contenders)))
        for index in order if number % 2 == 0 else reversed(order):
            time.sleep(pause)
            windows[index].append(contenders[index].window(seconds))
        told(number + 1)
    return windows


def ratios(ours: Sequence[Window], theirs: Sequence[Window]) -> list[float]:
    """How many times as fast, round by round: what slows a round slows both of its windows."""
    return [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)
