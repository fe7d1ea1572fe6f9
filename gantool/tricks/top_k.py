"""A generator that learns from its best."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Clock, Trick
from gantool.game.ranges import Share
from gantool.game.schedules import Schedule
from gantool.game.types import Verdict


class TopK(Trick):
    """G learns from the k fakes of its batch that D takes for the most real (Sinha et al. 2020, algorithm 1).

    k = share * batch size, `share` falling from 1 to `least` along the schedule. The others' gradient is 0 and that of
    the k is scaled by batch size / k. Of a loss that is a mean over the fakes, this is the gradient of the mean over
    the k (not so its own gradient, which update=consensus takes: there the scale is squared); objectives that compare
    whole batches, such as feature_matching, are refused.
    """

    needs_critic = needs_realness = needs_average = True

    def __init__(self, least: Share = 0.5, schedule: Schedule | None = None):
        super().__init__()
        self.least, self.schedule, self.clock = least, schedule, Clock()

    def joined(self, rounds: int) -> None:
        self.clock.now.fill_(rounds)

    def heed(self, on_fake: Verdict, realness: Tensor) -> Verdict:
        n = len(realness)
        left = self.schedule(self.clock.now) if self.schedule is not None else torch.zeros_like(realness[0])  # 1 to 0
        k = torch.round(n * (self.least + (1 - self.least) * left)).clamp(1, n)
        rank = realness.argsort(descending=True).argsort()
        weight = torch.where(rank < k, n / k, 0.0).unsqueeze(1)
        return Verdict(_weighed(on_fake.logits, weight), _weighed(on_fake.features, weight))

    def after_round(self, nets: nn.ModuleDict) -> None:
        self.clock.tick()


def _weighed(values: Tensor, weight: Tensor) -> Tensor:
    """The same values; their gradient times weight."""
    fixed = values.detach()
    return fixed + weight * (values - fixed)
