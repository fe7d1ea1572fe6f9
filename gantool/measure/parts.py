"""Where the time of a step goes: the clock is switched from part to part at the seams of the game.

The parts cover the step without a gap, so they add up to it. On a CUDA device the seams are events in the stream of
work, and the step is queued behind a spell of idling: then the host is ahead, and what lies between two events is what
the device worked, as in a captured step, not what the host took to ask for it.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from gantool.game.game import Game
from gantool.game.player import Player
from gantool.measure.kinds import rounds_of
from gantool.measure.machine import wait

PARTS = ("data", "D", "G", "penalties", "optimiser", "tricks", "rest")  # rest: statistics, and what an update adds
SOURCE = ("feed", "reals", "labelled", "latents", "reference")
PENALTIES = ("d_penalty", "g_penalty")
TRICKS = (
    "replay", "keep", "view", "targets", "heed", "watch", "gradients", "bound_d", "after_d", "after_g", "after_round",
)  # fmt: skip
IDLE_CYCLES = 100_000_000  # of a GPU's clock, about 50 ms: longer than the host takes to queue a step


class Stopwatch:
    """Time by part. A part within a part counts for itself only."""

    def __init__(self, device: torch.device):
        self.device, self.stack = device, ["rest"]
        self.marks: list[tuple[str, Any]] = []  # the part that begins, and when

    def switch(self) -> None:
        self.marks.append((self.stack[-1], self._now()))

    def _now(self) -> Any:
        if self.device.type != "cuda":
            wait(self.device)
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.stack.append(name)
        self.switch()
        try:
            yield
        finally:
            self.stack.pop()
            self.switch()

    def read(self) -> dict[str, float]:
        """Seconds of each part from the first mark to the last; forgets them."""
        wait(self.device)
        seconds: dict[str, float] = defaultdict(float)
        for (name, began), (_, ended) in zip(self.marks, self.marks[1:], strict=False):
            seconds[name] += began.elapsed_time(ended) / 1000 if self.device.type == "cuda" else ended - began
        self.marks.clear()
        return seconds


def measure(
    game: Game,
    players: tuple[Player, Player],  # D, G
    prepare: Callable[[], None],  # the host's work ahead of a step, which may wait for the device
    step: Callable[[], object],  # after `game.begin`
    device: torch.device,
    seconds: float,
) -> dict[str, float]:
    """Part -> its seconds in an eager step, without `prepare`. Takes about so many seconds, and six steps at least.

    A penalty's way back through D is part of one backward pass with D's loss. Its share is what that pass takes less
    where the penalty is cut off, which is tried in every second step.
    """
    watch, cut = Stopwatch(device), _Cut()
    kinds, rows = rounds_of(game), defaultdict[tuple[int, bool], list[dict[str, float]]](list)
    with seams(watch, cut, game, players):
        until = time.perf_counter() + seconds
        while len(rows) < 2 * len(kinds) or len(min(rows.values(), key=len)) < 4 or time.perf_counter() < until:
            for number in kinds:
                for cut.on in (False, True):
                    prepare()
                    game.begin(number)
                    rows[number, cut.on].append(_one(watch, step))
    total: dict[str, float] = defaultdict(float)
    for number, share in kinds.items():
        whole, without = (_medians(rows[number, on][1:]) for on in (False, True))  # the first finds memory and kernels
        for name, value in _assigned(whole, without, cut.seen).items():
            total[name] += share * value
    return {name: total[name] for name in PARTS}


class _Cut:
    """Are penalties cut off from what they are computed from; and was there any?"""

    on, seen = False, False


def _one(watch: Stopwatch, step: Callable[[], object]) -> dict[str, float]:
    wait(watch.device)
    if watch.device.type == "cuda":
        torch.cuda._sleep(IDLE_CYCLES)
    watch.switch()
    step()
    watch.switch()
    return watch.read()


def _assigned(whole: dict[str, float], without: dict[str, float], penalised: bool) -> dict[str, float]:
    """Backward passes to the players, but for what they take longer because of penalties."""
    parts = dict(whole)
    for player in "DG":
        backward = parts.pop(f"{player} backward", 0.0)
        penalty = max(0.0, backward - without[f"{player} backward"]) if penalised else 0.0
        parts[player] = parts.get(player, 0.0) + backward - penalty
        parts["penalties"] = parts.get("penalties", 0.0) + penalty
    return parts


def _medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = {name for row in rows for name in row}
    return defaultdict(float, {name: statistics.median(row.get(name, 0.0) for row in rows) for name in names})


@contextmanager
def seams(watch: Stopwatch, cut: _Cut, game: Game, players: tuple[Player, Player]) -> Iterator[None]:
    """While it lasts, these objects switch the clock at their own calls."""
    places: list[tuple[object, str, str]] = [
        *((game.source, name, "data") for name in SOURCE if hasattr(game.source, name)),
        (game, "fakes", "D"), (game, "d_loss", "D"), (game, "g_loss", "G"), (game, "_verdicts", "rest"),
        (players[0], "grads", "D backward"), (players[1], "grads", "G backward"),
        *((player, "apply", "optimiser") for player in players),
        *((hook, name, "tricks") for hook in game.hooks.values() for name in TRICKS),
        *((hook, name, "penalties") for hook in game.hooks.values() for name in PENALTIES),
    ]  # fmt: skip
    before = [dict(vars(owner)) for owner, _, _ in places]
    for owner, name, part in places:
        vars(owner)[name] = _timed(watch, cut, part, getattr(owner, name))
    try:
        yield
    finally:
        for (owner, name, _), own in reversed(list(zip(places, before, strict=True))):
            del vars(owner)[name]
            vars(owner).update({name: own[name]} if name in own else {})


def _timed(watch: Stopwatch, cut: _Cut, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        inner = call.__name__ == "fakes" and watch.stack[-1] in "DG"  # of the turn that makes them; D's if both share
        with watch.part(watch.stack[-1] if inner else part):
            result = call(*args, **kwargs)
        if part == "penalties" and result is not None:
            cut.seen = True
            return result.detach() if cut.on else result
        return result

    return timed
