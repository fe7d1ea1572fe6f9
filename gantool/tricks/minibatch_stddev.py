"""A discriminator that sees how varied its batch is."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.ranges import Count
from gantool.game.surgery import append_features, with_head
from gantool.game.types import Source


class MinibatchStddev(Trick):
    """D's last hidden layer is joined by the standard deviation over a group of examples, averaged over features.

    (Karras et al. 2018, section 3; there it is a further map of the last convolution.)
    """

    needs_critic = needs_head = True

    def __init__(self, group: Count = 4):
        super().__init__()
        if group < 2:
            raise ValueError("group: one example has no deviation, give 2 or more")
        self.group = group

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        append_features(with_head(nets, "minibatch_stddev"), Spread(self.group), 1)


class Spread(nn.Module):
    """(N, F) -> (N, 1). A batch that does not divide into groups is one group."""

    by_example = False

    def __init__(self, group: int):
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        n = len(features)
        groups = n // self.group if n % self.group == 0 else 1
        grouped = features.float().view(groups, n // groups, -1)
        spread = torch.sqrt(grouped.var(dim=1, correction=0) + 1e-8).mean(dim=1)  # (groups,)
        return spread[:, None].expand(groups, n // groups).reshape(n, 1)
