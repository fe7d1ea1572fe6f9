"""A discriminator that is lied to now and then."""

import torch
from torch import Tensor

from gantool.game.hooks import Trick
from gantool.game.ranges import Share


class LabelFlipping(Trick):
    """Each of D's targets t, of reals and of fakes, becomes 1 - t with probability `share` (ganhacks, section 6).

    In expectation the targets 1 and 0 are 1 - share and share: the optimal D is (1 - share) p + share q over p + q.
    """

    needs_targets = True

    def __init__(self, share: Share = 0.05):
        super().__init__()
        self.share = share

    def targets(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self._flipped(real), self._flipped(fake)

    def _flipped(self, target: Tensor) -> Tensor:
        return torch.where(torch.rand_like(target) < self.share, 1 - target, target)
