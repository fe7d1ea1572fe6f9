"""A hyperparameter as a function of a step counter that lives on the device."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.ranges import Natural, NonNegative


class Schedule(nn.Module):
    """A factor that is 1 until step `begin` and reaches `final` at step `end`, where it stays.

    Without an `end` it is stretched over the run: one that is resumed with another budget jumps to where that puts it.
    """

    def __init__(
        self,
        budget_steps: int | None,  # steps of the whole run, for `end`; None = not known beforehand
        kind: Literal["constant", "linear", "cosine", "exponential"] = "constant",
        begin: Natural = 0,  # step
        end: Natural | None = None,  # step; None = the end of the run
        final: NonNegative = 0.0,  # the factor from `end` on
    ):
        super().__init__()
        self.kind, self.begin, self.final = kind, begin, final
        self.end = budget_steps if end is None else end
        if kind != "constant" and self.end is None:
            raise UsageError(
                f"a {kind} schedule needs to know its last step: give its `end`, or a budget in steps or images"
            )
        if kind != "constant" and self.end is not None and self.end <= begin:
            raise UsageError(f"a schedule must end after it begins: got begin={begin}, end={self.end}")
        if kind == "exponential" and final <= 0:
            raise UsageError(
                "an exponential schedule never reaches 0: give `final` a small positive factor such as 0.01"
            )

    def forward(self, now: Tensor) -> Tensor:
        """0-dim step counter -> 0-dim float32 factor."""
        if self.kind == "constant" or self.end is None:
            return torch.ones_like(now, dtype=torch.float32)
        passed = ((now - self.begin) / (self.end - self.begin)).float().clamp(0.0, 1.0)
        if self.kind == "exponential":
            return torch.exp(passed * math.log(self.final))
        share = passed if self.kind == "linear" else (1 - torch.cos(math.pi * passed)) / 2
        return 1 + (self.final - 1) * share
