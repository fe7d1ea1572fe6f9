"""What several objectives share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.game.types import Turn, Verdict


def cross_entropy(turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
    """D's loss in 2014: -E log D(x) - E log(1 - D(G(z))), with D = sigmoid(logit), at the turn's targets."""
    on_reals = F.binary_cross_entropy_with_logits(on_real.logits[:, 0], turn.real_target)
    return on_reals + F.binary_cross_entropy_with_logits(on_fake.logits[:, 0], turn.fake_target)


def jensen_shannon(real: Tensor, fake: Tensor) -> Tensor:
    """(V + log 4) / 2 in nats: a lower bound of JSD(p, q) by any D, reached by D = p / (p + q) (ibid., theorem 1).

    `real`, `fake` are D's logits; V has the targets 1 and 0 whatever D is trained with.
    """
    losses = F.softplus(-real).mean() + F.softplus(fake).mean()
    return math.log(2) - losses / 2


def feature_distance(turn: Turn, on_fake: Verdict) -> Tensor:
    """|E f(x) - E f(G(z))|^2, f the last hidden layer of D: of the means of two batches (Salimans et al. 2016, 3.1)."""
    on_real = turn.judge(turn.real, turn.label)
    return (on_real.features.mean(dim=0) - on_fake.features.mean(dim=0)).square().sum()


def class_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """-E log p(label), p = softmax(logits) of (N, classes), over the examples that have a label; 0 if none has."""
    known = label >= 0
    each = F.cross_entropy(logits, label, ignore_index=-1, reduction="none")
    return each.sum() / known.sum().clamp(min=1)


@torch.no_grad()
def class_accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """The share of the examples with a label whose class has the largest logit."""
    known = label >= 0
    return (logits.argmax(dim=1) == label).sum() / known.sum().clamp(min=1)
