"""Layers of slope one."""

from typing import Literal

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gantool.game.hooks import Trick
from gantool.game.ranges import Count
from gantool.game.surgery import LAYERS
from gantool.game.types import Source


class SpectralNorm(Trick):
    """Weights divided by their largest singular value, tracked by power iteration (Miyato et al. 2018, section 2.1)."""

    rewrites_last = True

    def __init__(
        self,
        player: Literal["discriminator", "generator", "both"] = "discriminator",
        power_iterations: Count = 1,
    ):
        super().__init__()
        self.players = ("discriminator", "generator") if player == "both" else (player,)
        self.power_iterations = power_iterations
        self.lipschitz = "discriminator" in self.players
        self.needs_critic = self.players == ("discriminator",)

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        for player in self.players:
            for layer in nets[player].modules():
                if isinstance(layer, LAYERS):
                    spectral_norm(layer, n_power_iterations=self.power_iterations)
