"""The game that is really played."""

import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.losses import cross_entropy, jensen_shannon
from gantool.game.types import Turn, Verdict


class NonSaturating(Objective):
    """D as in minimax; G raises log D(G(z)), with a gradient where D is sure (Goodfellow et al. 2014, section 3)."""

    has_targets = True

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return cross_entropy(turn, on_real, on_fake)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return F.softplus(-on_fake.logits).mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return jensen_shannon(on_real.logits, on_fake.logits)
