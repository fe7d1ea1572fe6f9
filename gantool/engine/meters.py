"""Means of a step's statistics, kept on the device and read once a tick."""

from typing import Any

import torch
from torch import Tensor

from gantool.game.types import Stats


class Meters:
    """Sums, and the first step at which each statistic was not finite."""

    def __init__(self, device: torch.device):
        self.names: list[str] = []
        self.count = torch.zeros((), dtype=torch.int64, device=device)  # steps summed
        self.steps = torch.zeros((), dtype=torch.int64, device=device)  # steps since the run began
        self.total = torch.zeros(0, device=device)  # (names,)
        self.first_bad = torch.zeros(0, dtype=torch.int64, device=device)  # (names,) 0 = never

    def add(self, stats: Stats) -> None:
        """Within a step: no host."""
        values = torch.stack(list(stats.values()))
        if list(stats) != self.names:  # the first step, or a run resumed with other tricks
            self.names = list(stats)
            self.total = torch.zeros_like(values)
            self.first_bad = torch.zeros_like(values, dtype=torch.int64)
            self.count.zero_()
        self.steps += 1
        self.count += 1
        self.total += values
        bad = ~torch.isfinite(values) & (self.first_bad == 0)
        self.first_bad.copy_(torch.where(bad, self.steps, self.first_bad))

    def read(self) -> tuple[dict[str, float], dict[str, int]]:
        """(means since `clear`, first step at which each bad one was not finite). Waits for the device."""
        means = (self.total / self.count.clamp(min=1)).float()
        bits, steps = torch.stack([means.view(torch.int32).long(), self.first_bad]).cpu()  # one transfer
        bad = {name: step for name, step in zip(self.names, steps.tolist(), strict=True) if step}
        return dict(zip(self.names, bits.int().view(torch.float32).tolist(), strict=True)), bad

    def clear(self) -> None:
        """The means were written down."""
        self.total.zero_()
        self.count.zero_()

    @property
    def pending(self) -> bool:
        """Are there steps whose means were not written down? Waits for the device."""
        return bool(self.count)

    def tensors(self) -> dict[str, Tensor]:
        """All that `add` changes, by name."""
        return {"count": self.count, "steps": self.steps, "total": self.total, "first_bad": self.first_bad}

    def state_dict(self) -> dict[str, Any]:
        return {"names": self.names, **self.tensors()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.count.device
        self.names = list(state["names"])
        self.total, self.first_bad = state["total"].to(device).clone(), state["first_bad"].to(device).clone()
        self.count.copy_(state["count"])
        self.steps.copy_(state["steps"])
