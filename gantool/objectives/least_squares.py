"""Least squares instead of cross-entropy."""

from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class LeastSquares(Objective):
    """D is regressed to b on reals and a on fakes, G moves D's output to c (Mao et al. 2016, equation 2)."""

    has_targets = True

    def __init__(self, a: float = 0.0, b: float = 1.0, c: float = 1.0):
        super().__init__()
        self.a, self.b, self.c = a, b, c
        self.threshold = (a + b) / 2 if a < b else None

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        wanted_real = self.a + (self.b - self.a) * turn.real_target
        wanted_fake = self.a + (self.b - self.a) * turn.fake_target
        on_reals = 0.5 * (on_real.logits[:, 0] - wanted_real).square().mean()
        return on_reals + 0.5 * (on_fake.logits[:, 0] - wanted_fake).square().mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return 0.5 * (on_fake.logits - self.c).square().mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor | None:
        """A lower bound of the Pearson chi-squared divergence of p + q from 2q, in [0, 2] where D is any good.

        The best D, (b p + a q) / (p + q), leaves the loss (b-a)^2/2 * integral of pq/(p+q), while chi2(p + q || 2q)
        (ibid., equation 9) = integral of (p-q)^2/(p+q) = 2 - 4 * integral of pq/(p+q) = 2 - 8 * loss / (b-a)^2.
        """
        if self.a == self.b:
            return None
        errors = (on_real.logits - self.b).square().mean() + (on_fake.logits - self.a).square().mean()
        return 2 - 4 * errors / (self.b - self.a) ** 2
