"""What lies between two samples: one becomes the other along each row."""

from typing import Any, Literal

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.ranges import Count
from gantool.samplers.grid import Grid


class Interpolation(Grid):
    """A grid: each row goes from one fair draw to another at `columns` even places (Radford et al. 2015, section 6.1).

    `spherical` follows the great circle, on which a Gaussian's typical latents lie: the straight way leads through
    shorter ones, which the generator has hardly seen (White 2016, section 2.1); `linear` suits prior=uniform.
    Class, codes and, of a mixture, the component stay along a row.
    """

    ways = True

    def __init__(
        self, columns: Count | None = None, path: Literal["spherical", "linear"] = "spherical", cell: Count = 64
    ):
        self.steps, self.path = columns or 10, path
        super().__init__(self.steps, cell)
        if self.steps < 2:
            raise UsageError("columns=1 shows no way between two samples: give 2 or more")

    def arrange(self, latent: Tensor, label: Tensor, deployed: Any) -> tuple[Tensor, Tensor]:
        """(n, Z), (n,) fair draws of a Deployed -> latents and labels of whole rows, one at least."""
        rows = max(1, len(latent) // self.steps)
        if len(latent) < 2 * rows:
            raise UsageError(f"n={len(latent)} is too few for a row, which has two ends: give n=2 or more")
        noise = slice(sum(deployed.game.objective.codes), deployed.latent_dim)
        begin, end = latent[:rows, noise], latent[rows : 2 * rows, noise]
        places = torch.linspace(0, 1, self.steps)[None, :, None]
        between = (spherical if self.path == "spherical" else torch.lerp)(begin[:, None], end[:, None], places)
        latent = latent[:rows].repeat_interleave(self.steps, dim=0)
        latent[:, noise] = between.flatten(0, 1)
        return latent, label[:rows].repeat_interleave(self.steps)


def spherical(begin: Tensor, end: Tensor, place: Tensor) -> Tensor:
    """(..., Z), (..., Z) and places (..., 1) from 0 to 1 -> (..., Z) on the arc between them, at an even speed.

    Shoemake 1985, section 3.3: sin((1 - t) w) / sin(w) begin + sin(t w) / sin(w) end, w the angle between them. Where
    they point the same way or opposite ways there is no such arc, and the way is straight.
    """
    cosine = torch.nn.functional.cosine_similarity(begin, end, dim=-1)[..., None].double()
    angle = cosine.clamp(-1, 1).acos()
    arc = (((1 - place) * angle).sin() * begin + (place * angle).sin() * end) / angle.sin()
    straight = torch.lerp(begin, end, place)
    return torch.where(angle.sin() < 1e-4, straight.double(), arc).to(begin.dtype)
