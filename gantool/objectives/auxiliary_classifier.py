"""A discriminator that also names the class."""

from torch import Tensor

from gantool.game.extended import Extended
from gantool.game.hooks import Objective
from gantool.game.losses import class_accuracy, class_entropy
from gantool.game.ranges import NonNegative
from gantool.game.types import Stats, Turn, Verdict


class AuxiliaryClassifier(Extended):
    """Both players raise the log-likelihood of the class, of reals and of fakes, beside `base` (Odena et al. 2017).

    Equations 2 and 3: D raises L_C + L_S, G raises L_C - L_S. G is told the class it is to draw, D is not; examples
    without a label count in L_S only.
    """

    def __init__(self, base: Objective, num_classes: int, weight: NonNegative = 1.0):
        super().__init__(base, num_classes)
        self.needs_classes, self.class_conditional, self.tells_class = True, True, False
        self.matches_features = False  # G learns the class from D's answer
        self.weight = weight

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        named = class_entropy(self.rest(on_real), turn.label) + class_entropy(self.rest(on_fake), turn.fake_label)
        return super().d_loss(turn, on_real, on_fake) + self.weight * named

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return super().g_loss(turn, on_fake) + self.weight * class_entropy(self.rest(on_fake), turn.fake_label)

    def class_logits(self, logits: Tensor) -> Tensor:
        return logits[:, self.base.logits :]

    def report(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        return super().report(turn, on_real, on_fake) | {
            "class_accuracy_real": class_accuracy(self.rest(on_real), turn.label),
            "class_accuracy_fake": class_accuracy(self.rest(on_fake), turn.fake_label),
        }
