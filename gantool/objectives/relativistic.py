"""Reals and fakes compared with each other."""

import math

import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class Relativistic(Objective):
    """D tells which of a pair, a real and a fake, is the real one (paired; Jolicoeur-Martineau 2018, section 4.1).

    With zero-centred penalties at reals and fakes it is the loss of R3GAN (Huang et al. 2024). G lifts its fakes above
    reals, so D judges a batch of those in G's turn too.
    """

    needs_real = True
    threshold = None  # only differences of D's outputs mean something

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return F.softplus(on_fake.logits - on_real.logits).mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        on_real = turn.judge(turn.real, turn.label)
        return F.softplus(on_real.logits - on_fake.logits).mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        """A lower bound of sup_a E log sigmoid(a(x) - a(G(z))) + log 2, in [0, log 2].

        That is a divergence (Jolicoeur-Martineau 2020, "On relativistic f-divergences", theorem 3.1), there with a
        constant factor: 0 only for p = q, and log 2 where the supports can be told apart.
        """
        return math.log(2) - self.d_loss(turn, on_real, on_fake)
