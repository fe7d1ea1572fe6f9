"""What `gantool bench` asks, in a process of its own: `python -m gantool.commands.subject`. Imports torch.

The first question is a task: {"play": one of PLAYS, "config": as of gantool train}.
"""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from gantool.measure.process import serve

WARM_UP = 5  # rounds of each kind before anything is measured: a graph is rehearsed three times, then recorded
PART_SECONDS = 3.0


class Gantool:
    """A game as `gantool train` plays it, without files: batches prepared and statistics read once a tick."""

    def __init__(self, config: dict[str, Any]):
        from gantool.commands.assembly import Assembly
        from gantool.engine.precision import choose_device
        from gantool.measure.kinds import rounds_of
        from gantool.measure.machine import Memory

        self.memory = Memory(choose_device(config["device"]))
        self.parts = Assembly(config)
        self.device, self.clock = self.parts.device, self.parts.clock
        self.left = 0  # steps that are prepared
        for number in rounds_of(self.parts.game):
            for _ in range(WARM_UP):
                self.clock.step = number
                self._step()
        self.clock.step = 0

    def _step(self) -> None:
        if not self.left:
            self.left = self.parts.plan.beat
            self.parts.meters.read()
            self.parts.prepare(self.left)
        self.parts.step()
        self.clock.step += 1
        self.left -= 1

    def window(self, seconds: float) -> tuple[int, float]:
        return _timed(self._step, seconds, self._wait)

    def steps(self, count: int) -> tuple[int, float]:
        self._wait()
        began = time.perf_counter()
        for _ in range(count):
            self._step()
        self._wait()
        return count, time.perf_counter() - began

    def _wait(self) -> None:
        from gantool.measure.machine import wait

        wait(self.device)

    def facts(self) -> dict[str, Any]:
        """After windows: the memory is theirs."""
        import torch

        from gantool.engine.streamed import StreamedSource

        parts = self.parts
        nets = {name: sum(each.numel() for each in net.parameters()) for name, net in parts.game.nets.items()}
        return parts.facts() | {
            "peak_memory": self.memory.peak(),
            "kept": "streamed" if isinstance(parts.source, StreamedSource) else "on the device",
            "way": parts.way,
            "images_per_step": parts.images_per_step,
            "batch_size": parts.config["batch_size"],
            "parameters": nets,
            "budget": parts.plan.steps if any(parts.config[key] for key in ("steps", "images")) else None,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def flops(self) -> float:
        """Of a mean step, if no multiplication is saved."""
        from contextlib import nullcontext

        from gantool.measure.kinds import rounds_of
        from gantool.measure.machine import Flops

        total, layers = 0.0, self.parts.layers
        self.parts.layers = nullcontext
        try:
            for number, share in rounds_of(self.parts.game).items():
                self._prepare_one()
                self.parts.game.begin(number)
                with Flops() as counter:
                    self._eager()
                total += share * counter.total
        finally:
            self.parts.layers = layers
        return total

    def shares(self) -> dict[str, float]:
        """Part of an eager step -> its share."""
        from gantool.measure import parts

        tick = self.parts.plan.beat
        self._wait()
        began = time.perf_counter()
        self.parts.prepare(tick)
        self._wait()
        ahead = (time.perf_counter() - began) / tick
        players = (self.parts.d, self.parts.g)
        seconds = parts.measure(self.parts.game, players, self._prepare_one, self._eager, self.device, PART_SECONDS)
        seconds["data"] += ahead
        total = sum(seconds.values())
        return {name: value / total for name, value in seconds.items()}

    def _prepare_one(self) -> None:
        self.left = 0
        self.parts.prepare(1)

    def _eager(self) -> None:
        self.parts.source.feed()
        self.parts.round()

    def peak_flops(self) -> float:
        from gantool.measure.machine import peak_flops

        return peak_flops(self.device, self.parts.precision)

    def evaluation(self) -> float | None:
        """Seconds that the chosen metrics take."""
        from gantool.commands.stopping import Stop

        if not self.parts.metrics.chosen:
            return None
        began = time.perf_counter()
        self.parts.evaluate(Stop(), tell=lambda *progress: None)
        return time.perf_counter() - began


class Tutorial:
    """A loop as it is written by hand: a generator that gives the losses after each step."""

    def __init__(self, config: dict[str, Any]):
        import torch

        from gantool.commands.against import loop_of, settings

        self.name = loop_of(config)
        if config["threads"] is not None:
            torch.set_num_threads(config["threads"])
        loop = importlib.import_module(f"gantool.baselines.{self.name}")
        steps: Iterator[Any] = loop.train(**settings(config))
        self._step: Callable[[], Any] = lambda: next(steps)
        for _ in range(WARM_UP):
            self._step()

    def window(self, seconds: float) -> tuple[int, float]:
        return _timed(self._step, seconds, lambda: None)  # each step ends with `.item()`, which waits

    def facts(self) -> dict[str, Any]:
        return {"name": self.name}


def _timed(step: Callable[[], Any], seconds: float, wait: Callable[[], None]) -> tuple[int, float]:
    """Whole steps until so many seconds are over, and the time that they took in truth."""
    wait()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    wait()
    return steps, time.perf_counter() - began


PLAYS: dict[str, Callable[[dict[str, Any]], Any]] = {"gantool": Gantool, "loop": Tutorial}

if __name__ == "__main__":
    sys.exit(serve(lambda task: PLAYS[task["play"]](task["config"])))
