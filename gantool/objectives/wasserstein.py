"""The critic's game."""

from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class Wasserstein(Objective):
    """A 1-Lipschitz critic raises E a(x) - E a(G(z)), an estimate of W1 (Arjovsky et al. 2017, equation 2)."""

    needs_lipschitz = zero_sum = True
    threshold = None

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return on_fake.logits.mean() - on_real.logits.mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return -on_fake.logits.mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        """W1 times the slope that the constraint allows (ibid., section 3), less what D misses."""
        return on_real.logits.mean() - on_fake.logits.mean()
