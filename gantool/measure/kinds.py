"""Not all rounds do the same work: a lazy penalty is due in some of them only."""

from collections import Counter
from collections.abc import Hashable

from gantool.game.game import Game

ROUNDS = 4096  # over which the kinds are counted


def rounds_of(game: Game) -> dict[int, float]:
    """A round of each kind, by its number, and the share of all rounds that are of its kind."""
    kinds: list[Hashable] = [game.begin(number) for number in range(ROUNDS)]
    return {kinds.index(kind): count / ROUNDS for kind, count in Counter(kinds).items()}
