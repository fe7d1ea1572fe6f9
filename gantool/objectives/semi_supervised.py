"""A classifier that learns from few labels, and from a generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.losses import class_entropy, feature_distance, jensen_shannon
from gantool.game.ranges import NonNegative
from gantool.game.types import Turn, Verdict


class SemiSupervised(Objective):
    """D is a classifier with one class more, "generated"; G matches its features (Salimans et al. 2016, section 5).

    The extra logit is pinned at 0, so that D(x) = Z / (Z + 1) with log Z = logsumexp(l_1 .. l_K) is the probability of
    "real". D lowers -E log p(y | x, y <= K) on labelled reals and -E log D(x) - E log(1 - D(G(z))) on all. A G that is
    told a class y lowers -E log p(y | G(z, y), y <= K) as well, as in AC-GAN; D is not told, since it is to find out.
    """

    needs_classes = needs_labelled = needs_real = True
    tells_class = averages = False

    def __init__(self, num_classes: int, conditional: bool = False, weight: NonNegative = 1.0):
        super().__init__()
        self.logits, self.conditional, self.weight = num_classes, conditional, weight

    def realness(self, logits: Tensor) -> Tensor:
        return torch.logsumexp(logits, dim=1)

    def class_logits(self, logits: Tensor) -> Tensor:
        return logits

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        on_labelled = turn.judge(turn.labelled, turn.labelled_class)
        supervised = class_entropy(on_labelled.logits, turn.labelled_class)
        real, fake = self.realness(on_real.logits), self.realness(on_fake.logits)
        return self.weight * supervised + F.softplus(-real).mean() + F.softplus(fake).mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        distance = feature_distance(turn, on_fake)
        if not self.conditional:
            return distance
        return distance + self.weight * class_entropy(on_fake.logits, turn.fake_label)

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return jensen_shannon(self.realness(on_real.logits), self.realness(on_fake.logits))
