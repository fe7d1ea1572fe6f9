"""What several objectives share."""

import math

import torch.nn.functional as F
from torch import Tensor

from gantool.game.types import Turn, Verdict


def cross_entropy(turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
    """D's loss in 2014: -E log D(x) - E log(1 - D(G(z))), with D = sigmoid(logit), at the turn's targets."""
    on_reals = F.binary_cross_entropy_with_logits(on_real.logits[:, 0], turn.real_target)
    return on_reals + F.binary_cross_entropy_with_logits(on_fake.logits[:, 0], turn.fake_target)


def jensen_shannon(on_real: Verdict, on_fake: Verdict) -> Tensor:
    """(V + log 4) / 2 in nats: a lower bound of JSD(p, q) by any D, reached by D = p / (p + q) (ibid., theorem 1).

    V has the targets 1 and 0 whatever D is trained with.
    """
    losses = F.softplus(-on_real.logits).mean() + F.softplus(on_fake.logits).mean()
    return math.log(2) - losses / 2
