"""The game of 2014."""

import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class Minimax(Objective):
    """G minimises what D maximises, E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, equation 1).

    G's gradient vanishes where D is sure (ibid., section 3): for theory and demonstration.
    """

    has_targets = True

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        on_reals = F.binary_cross_entropy_with_logits(on_real.logits[:, 0], turn.real_target)
        return on_reals + F.binary_cross_entropy_with_logits(on_fake.logits[:, 0], turn.fake_target)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return -F.softplus(on_fake.logits).mean()
