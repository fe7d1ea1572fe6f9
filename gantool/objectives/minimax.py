"""The game of 2014."""

import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.losses import cross_entropy, jensen_shannon
from gantool.game.types import Turn, Verdict


class Minimax(Objective):
    """G minimises what D maximises, E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, equation 1).

    G's gradient vanishes where D is sure (ibid., section 3): for theory and demonstration.
    """

    has_targets = zero_sum = True

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return cross_entropy(turn, on_real, on_fake)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return -F.softplus(on_fake.logits).mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return jensen_shannon(on_real.logits, on_fake.logits)
