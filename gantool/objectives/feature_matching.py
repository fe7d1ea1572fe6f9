"""A generator that matches what D sees, not what D says."""

from torch import Tensor

from gantool.game.extended import Extended
from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict


class FeatureMatching(Extended):
    """G lowers |E f(x) - E f(G(z))|^2, f the last hidden layer of D (Salimans et al. 2016, section 3.1).

    D is trained as in `base`.
    """

    def __init__(self, base: Objective):
        super().__init__(base)
        self.needs_real = True

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        real = turn.judge(turn.real, turn.label).features.mean(dim=0)
        return (real - on_fake.features.mean(dim=0)).square().sum()
