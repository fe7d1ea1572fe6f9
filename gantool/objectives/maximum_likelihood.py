"""The game whose generator follows the likelihood."""

import torch
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.losses import cross_entropy, jensen_shannon
from gantool.game.ranges import Positive
from gantool.game.types import Turn, Verdict


class MaximumLikelihood(Objective):
    """D as in minimax; G lowers -E exp(a(G(z))), which at the optimal D has the gradient of KL(p_data || p_g).

    (Goodfellow 2014, "On distinguishability criteria for estimating generative models"; NIPS 2016 tutorial, section
    3.2.4.) exp(a) is p_data / p_g, so a few lucky fakes outweigh all others. A fake whose logit is above `max_logit`
    teaches nothing more.
    """

    has_targets = True

    def __init__(self, max_logit: Positive = 10.0):
        super().__init__()
        self.max_logit = max_logit

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return cross_entropy(turn, on_real, on_fake)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return -torch.exp(on_fake.logits.clamp(max=self.max_logit)).mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return jensen_shannon(on_real.logits, on_fake.logits)
