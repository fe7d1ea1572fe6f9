"""What a code does: it alone changes along each row."""

from typing import Any

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.ranges import Count, Natural, Positive
from gantool.samplers.grid import Grid


class Codes(Grid):
    """A grid: along each row one code varies and the rest of the latent stays (Chen et al. 2016, figure 2).

    A categorical code takes each of its values, a continuous one `columns` values from -reach to reach.
    """

    ways = True

    def __init__(self, code: Natural = 0, columns: Count | None = None, reach: Positive = 2.0, cell: Count = 64):
        super().__init__(columns or 10, cell)
        self.code, self.reach = code, reach

    def arrange(self, latent: Tensor, label: Tensor, deployed: Any) -> tuple[Tensor, Tensor]:
        """(n, Z), (n,) fair draws -> as many as make whole rows; a row has the latent and label of one draw."""
        widths = deployed.game.objective.codes
        if self.code >= len(widths):
            raise UsageError(
                f"sampler.code={self.code}: this run has {len(widths)} codes, numbered from 0: give a lower number"
                if widths
                else "sampler=codes varies the codes of objective=info, and this run has none: take sampler=grid"
            )
        first, width = sum(widths[: self.code]), widths[self.code]
        values = torch.eye(width) if width > 1 else torch.linspace(-self.reach, self.reach, self.columns)[:, None]
        self.columns = len(values)
        rows = max(1, len(latent) // self.columns)
        latent, label = (drawn[:rows].repeat_interleave(self.columns, dim=0) for drawn in (latent, label))
        latent[:, first : first + width] = values.repeat(rows, 1)
        return latent, label
