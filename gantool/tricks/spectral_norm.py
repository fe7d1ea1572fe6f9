"""Weights of largest singular value one."""

import logging
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import spectral_norm

from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.game.ranges import Count
from gantool.game.surgery import LAYERS
from gantool.game.types import Source
from gantool.tricks.minibatch_discrimination import Closeness
from gantool.tricks.virtual_batch_norm import ReferenceNorm

log = logging.getLogger(__name__)
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, ReferenceNorm)  # that scale features by their own deviation


class SpectralNorm(Trick):
    """Weights divided by their largest singular value, tracked by power iteration (Miyato et al. 2018, section 2.1).

    The slope of a linear layer is then at most 1. The kernel of a convolution counts as a matrix with a row for each
    channel that comes out, as in the paper: its slope is at most the root of the places that it covers, 4 for 4 x 4.
    Normalisation in D divides by a deviation that may be as small as it likes, and minibatch_discrimination has weights
    of its own: then no slope is bounded, which a Wasserstein critic's must be.
    """

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
            for name, layer in nets[player].named_modules():
                if isinstance(layer, LAYERS):
                    self._normalise(layer, f"{player}.{name}")
        if self.lipschitz:
            self._look_for_slopes(nets["discriminator"])

    def _look_for_slopes(self, discriminator: nn.Module) -> None:
        """Warns of layers of D whose slope is not bounded."""
        layers = list(discriminator.modules())
        if any(isinstance(layer, NORMS) for layer in layers):
            self.lipschitz = False
            log.warning(
                "normalisation in D undoes what trick.spectral_norm bounds, its slope: take "
                "architecture.discriminator.normalization=none"
            )
        if any(isinstance(layer, Closeness) for layer in layers):
            self.lipschitz = False
            log.warning(
                "trick.minibatch_discrimination multiplies D's features by weights that trick.spectral_norm does not "
                "divide: its slope is not bounded; minibatch_stddev has none"
            )

    def _normalise(self, layer: nn.Module, name: str) -> None:
        """Raises UsageError where the layer's weight is no parameter, but an attribute that a hook computes."""
        try:
            spectral_norm(layer, n_power_iterations=self.power_iterations)
        except ValueError as error:
            raise UsageError(
                f"trick.spectral_norm cannot scale the weight of {name}, which is no parameter of the layer: torch's "
                "older spectral_norm, weight_norm and prune replace it; take them out, or take those of "
                "torch.nn.utils.parametrizations"
            ) from error
