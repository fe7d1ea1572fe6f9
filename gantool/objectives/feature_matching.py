"""A generator that matches what D sees, not what D says."""

from torch import Tensor

from gantool.game.extended import Extended
from gantool.game.hooks import Objective
from gantool.game.losses import feature_distance
from gantool.game.types import Turn, Verdict


class FeatureMatching(Extended):
    """G lowers |E f(x) - E f(G(z))|^2, f the last hidden layer of D (Salimans et al. 2016, section 3.1).

    D is trained as in `base`.
    """

    def __init__(self, base: Objective):
        super().__init__(base)
        if isinstance(base, Extended):
            raise ValueError(
                f"base: {type(base).__name__} has a loss of G's own, which matching features would replace: "
                "take that objective, with objective.base=feature_matching"
            )
        self.needs_real = self.matches_features = True
        self.averages = False

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return feature_distance(turn, on_fake)
