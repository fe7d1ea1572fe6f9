"""What was measured of one configuration: a table to read, and numbers to keep."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gantool.measure.windows import Spread

MIB = 2**20
LEAST = 0.001  # share of a step below which a part is not listed
EXPLAINED = {
    "data": "drawing, flipping and scaling the batch; latents",
    "D": "D's turn: fakes, losses, backward",
    "G": "G's turn: fakes, losses, backward",
    "penalties": "their loss, and their share of the backward",
    "optimiser": "both players' steps",
    "tricks": "all other hooks: EMA, noise, clipping",
    "rest": "statistics, and what the update rule adds",
}


@dataclass
class Report:
    """Times in seconds, sizes in bytes, rates a second."""

    command: str
    facts: dict[str, Any]  # of the process that measured: device, precision, threads, versions, sizes
    images_per_second: Spread
    step: Spread
    shares: dict[str, float]  # part -> of the step
    flops: float  # a step
    peak_flops: float  # a second
    startup: dict[str, float] = field(default_factory=dict)  # what is started -> until it has done it
    evaluation: float | None = None
    loop: dict[str, Any] | None = None  # name, images_per_second and ratio, where there was one

    @property
    def peak_share(self) -> float:
        """Of what the device can do in this precision, what the step, as it is written, would make use of."""
        return self.flops / self.step.median / self.peak_flops

    def columns(self) -> dict[str, float]:
        """One number each, for the table of a sweep."""
        loop = {"times the loop": self.loop["ratio"].median} if self.loop else {}
        return {
            "images/s": self.images_per_second.median,
            "ms/step": 1e3 * self.step.median,
            "GFLOP/step": self.flops / 1e9,
            "% of peak": 100 * self.peak_share,
            "MiB": self.facts["peak_memory"] / MIB,
        } | loop

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and remark, line by line."""
        facts, milliseconds = self.facts, self.step.scaled(1e3)
        yield "images/s", spelled(self.images_per_second), "real images shown to D; median and quartiles of the windows"
        yield "step", f"{spelled(milliseconds)} ms", f"batch of {facts['batch_size']}, {machine(facts)}"
        if facts.get("budget"):
            minutes = number(facts["budget"] * self.step.median / 60)
            yield f"{facts['budget']:,} steps", f"take about {minutes} min", "without start-up, grids and evaluations"
        for name, share in self.shares.items():
            if share >= LEAST:
                yield f"  {name}", f"{share * milliseconds.median:.3g} ms, {share:.0%}", EXPLAINED[name]
        counted = "products and convolutions as written, all backward passes too; a compiled step leaves out some"
        yield "operations", f"{self.flops / 1e9:.4g} GFLOP a step", counted
        rate = f"{self.flops / self.step.median / 1e9:,.0f} of {self.peak_flops / 1e9:,.0f} GFLOP/s"
        yield (
            "share of the peak",
            f"{self.peak_share:.0%}",
            f"{rate}, of a large {facts['precision']} product",
        )
        on_cpu = facts["device"].startswith("cpu")
        yield (
            "peak memory",
            f"{facts['peak_memory'] / MIB:,.0f} MiB",
            ("growth of the process over data, networks and steps" if on_cpu else "tensors on the device"),
        )
        yield "parameters", " and ".join(f"{count:,}" for count in facts["parameters"].values()), "of G and D"
        for what, seconds in self.startup.items():
            yield what, f"{seconds:.2f} s", "from the start of the process"
        if self.evaluation is not None:
            yield "evaluation", f"{self.evaluation:.2f} s", "of the chosen metrics, once"
        if self.loop:
            rate, ratio = spelled(self.loop["images_per_second"]), spelled(self.loop["ratio"])
            yield "the loop", f"{rate} images/s", f"gantool/baselines/{self.loop['name']}.py, in turns with it"
            yield "times as fast", ratio, "median and quartiles of the ratios, window by window"

    def markdown(self) -> str:
        """The page bench.md."""
        lines = [f"| {name.strip()} | {value} | {remark} |" for name, value, remark in self.rows()]
        return "\n".join([f"`{self.command}`", "", "| | | |", "|---|---|---|", *lines, "", *versions(self.facts), ""])


def spelled(values: Spread) -> str:
    """`2.41 (2.38 to 2.45)`"""
    return f"{number(values.median)} ({number(values.low)} to {number(values.high)})"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine(facts: dict[str, Any]) -> str:
    """On what and how it ran."""
    on_cpu = facts["device"].startswith("cpu")
    where = f"{facts['cpu']}, {facts['threads']} threads" if on_cpu else facts["device"]
    return f"{where}, {facts['precision']}, {facts['way']}"


def versions(facts: dict[str, Any]) -> list[str]:
    return [f"{machine(facts)}, torch {facts['torch']}."]
