"""Margins instead of probabilities."""

import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class Hinge(Objective):
    """D is pushed above 1 on reals and below -1 on fakes, and no further (Lim and Ye 2017, section 3.2)."""

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return F.relu(1 - on_real.logits).mean() + F.relu(1 + on_fake.logits).mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return -on_fake.logits.mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        """A lower bound of the total variation distance, in [0, 1] where D is any good.

        The best D is sign(p - q) and its loss 2 - 2 TV: the hinge loss goes with the variational distance (Nguyen,
        Wainwright and Jordan 2009, "On surrogate loss functions and f-divergences").
        """
        return 1 - self.d_loss(turn, on_real, on_fake) / 2
