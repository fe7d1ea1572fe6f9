"""What each trick costs: time of a training step with it, relative to none. Imports no torch before it measures.

The steps of all tricks take turns, so that a machine that is busy for a while is busy for all of them. Kinds of rounds
(a lazy penalty is due in some only) are measured each and weighed by how frequent they are.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantool.config.compose import composed
from gantool.config.schema import conf_dir

SETTINGS = ("dataset=shapes", "dataset.size=2000", "architecture=dcgan", "logger=[]")
WARM_UP = 5  # steps of each kind: a graph is rehearsed three times, then recorded
LAZY = "gradient_penalty, r1 every 16"
MORE = {  # beside every trick at its defaults
    LAZY: (
        "trick=[gradient_penalty]",
        "trick.gradient_penalty.kind=r1",
        "trick.gradient_penalty.every=16",
    ),
}
Times = Mapping[int, Sequence[float]]  # a round of each kind -> seconds of its steps


class Runner:
    """A game with one trick, or none, and how long its steps took."""

    def __init__(self, name: str, config: dict[str, Any]):
        from gantool.commands.assembly import Assembly
        from gantool.measure.kinds import rounds_of

        self.name, self.assembly = name, Assembly(config)
        self.kinds = rounds_of(self.assembly.game)
        self.times: dict[int, list[float]] = defaultdict(list)

    def step(self) -> None:
        """One of each kind."""
        for number in self.kinds:
            self.times[number].append(self.seconds(number))

    def seconds(self, number: int) -> float:
        """Of round `number`, the device included."""
        from gantool.measure.machine import wait

        self.assembly.prepare(1)
        self.assembly.clock.step = number
        wait(self.assembly.device)
        began = time.perf_counter()
        self.assembly.step()
        wait(self.assembly.device)
        return time.perf_counter() - began


def measured(rounds: int, overrides: Sequence[str] = ()) -> list[Runner]:
    """None first, then every trick. The first steps of each find kernels, memory and graphs, and do not count."""
    runners = list(build(overrides))
    for number in range(rounds + WARM_UP):
        for runner in runners if number % 2 == 0 else reversed(runners):
            runner.step()
    return runners


def build(overrides: Sequence[str]) -> Iterator[Runner]:
    yield Runner("none", composed(*SETTINGS, *overrides))
    tricks = {path.stem: (f"trick=[{path.stem}]",) for path in sorted((conf_dir() / "trick").glob("*.yaml"))}
    for name, chosen in {**tricks, **MORE}.items():
        yield Runner(name, composed(*SETTINGS, *chosen, *overrides))


def relative(kinds: Mapping[int, float], times: Times, plain: Sequence[float]) -> float:
    """Mean over the kinds of round, by their share, of the median ratio of two steps of one turn."""
    return sum(
        share
        * statistics.median(mine / other for mine, other in zip(times[number][WARM_UP:], plain[WARM_UP:], strict=True))
        for number, share in kinds.items()
    )
