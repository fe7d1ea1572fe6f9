"""The source of batches as the players see it."""

from torch import Tensor

from gantool.game.hooks import Objective
from gantool.game.types import Source


class Seen:
    """With the objective's codes in the latents."""

    def __init__(self, source: Source, objective: Objective):
        self.source, self.objective = source, objective
        self.batch_size, self.num_classes = source.batch_size, source.num_classes

    def reals(self) -> tuple[Tensor, Tensor]:
        return self.source.reals()

    def labelled(self) -> tuple[Tensor, Tensor]:
        return self.source.labelled()

    def reference(self) -> tuple[Tensor, Tensor]:
        return self.source.reference()

    def mean(self) -> Tensor:
        return self.source.mean()

    def latents(self) -> tuple[Tensor, Tensor]:
        latent, label = self.source.latents()
        return self.objective.latent(latent), label
