"""Softer targets for D."""

import logging

from torch import Tensor

from gantool.game.hooks import Trick
from gantool.game.ranges import Share


class LabelSmoothing(Trick):
    """Targets 1 and 0 become `real` and `fake` (Salimans et al. 2016, section 3.4; one-sided: `fake` stays 0).

    With `fake` > 0 the optimal D gains a term in p_g that rewards G for what it does already (ibid.): hence a warning.
    """

    needs_targets = True

    def __init__(self, real: Share = 0.9, fake: Share = 0.0):
        super().__init__()
        self.real, self.fake = real, fake
        if fake > 0:
            message = "trick.label_smoothing.fake=%s reinforces what the generator does already; one-sided: 0"
            logging.getLogger(__name__).warning(message, fake)

    def targets(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        span = self.real - self.fake
        return self.fake + span * real, self.fake + span * fake
