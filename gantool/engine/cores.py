"""The cores of a CPU, and whether other processes want them too."""

import os
import time
from pathlib import Path

import torch

STAT = Path("/proc/stat")  # of Linux
LONG = 5.0  # seconds of looking after which others are known to compute, not to have begun something
SHARE = 0.5  # of a core that others may take before threads feel it


class Crowd:
    """Looks whether others compute on the cores of this process: once, when it has gone on for a while.

    Threads that share an operation wait for the last of them. If one has lost its core to another process they all
    wait, at each of the hundreds of operations of a step, so that two threads can take five times as long as one.
    """

    def __init__(self, stat: Path = STAT):
        self.stat, self.told = stat, False
        self.since = self._now()

    def look(self) -> str | None:
        """What is to be said, once; None = nothing. Costs a read of a small file."""
        threads, cores, before = torch.get_num_threads(), os.cpu_count() or 1, self.since
        if self.told or threads == 1 or before is None or time.monotonic() - before[0] < LONG:
            return None
        now = self._now()
        if now is None:
            return None
        self.since = now
        others = (now[1] - before[1]) / (now[0] - before[0])
        if others + threads < cores + SHARE:
            return None
        self.told = True
        fewer = max(1, min(threads - 1, int(cores - others + SHARE)))
        return (
            f"other processes compute on {others:.1f} of {cores} cores, and the {threads} threads of this one wait for "
            f"each other: threads={fewer} may be several times as fast"
        )

    def _now(self) -> tuple[float, float] | None:
        """Time, and the seconds that all other processes have computed; None where nobody says so."""
        try:
            fields = self.stat.read_text().split("\n", 1)[0].split()
            user, nice, system, _, _, irq, softirq = map(int, fields[1:8])
            busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        return time.monotonic(), busy - sum(os.times()[:4])
