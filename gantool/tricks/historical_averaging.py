"""Weights that are drawn to their past."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Clock, Trick
from gantool.game.ranges import NonNegative
from gantool.game.types import Turn, Verdict


class HistoricalAveraging(Trick):
    """Adds weight * |theta - its mean over the past|^2 to each player's loss (Salimans et al. 2016, section 3.3)."""

    of_weights = True

    def __init__(self, weight: NonNegative = 1.0):
        super().__init__()
        self.weight, self.clock = weight, Clock()

    def ready(self, nets: nn.ModuleDict) -> None:
        self.live: dict[str, list[Tensor]] = {
            player: [weight for weight in net.parameters() if weight.requires_grad] for player, net in nets.items()
        }
        means = {
            player: [nn.Parameter(each.detach().clone(), False) for each in mine] for player, mine in self.live.items()
        }
        self.means = nn.ModuleDict({player: nn.ParameterList(mine) for player, mine in means.items()})

    def d_penalty(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self._distance("discriminator", turn)

    def g_penalty(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return self._distance("generator", turn)

    def after_round(self, nets: nn.ModuleDict) -> None:
        """mean_t = mean_{t-1} + (theta_t - mean_{t-1}) / (t + 1); theta_0 counts as the first."""
        self.clock.tick()
        for player, live in self.live.items():
            if live:
                mean = self._mean(player)
                moved = torch._foreach_sub(live, mean)
                torch._foreach_mul_(moved, 1 / (self.clock.now + 1).float())
                torch._foreach_add_(mean, list(moved))

    def _mean(self, player: str) -> list[Tensor]:
        return list(self.means[player].parameters())

    def _distance(self, player: str, turn: Turn) -> Tensor:
        apart = [(now - mean).square().sum() for now, mean in zip(self.live[player], self._mean(player), strict=True)]
        return self.weight * torch.stack(apart).sum() if apart else turn.fake.new_zeros(())
