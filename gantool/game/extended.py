"""Objectives that add something to another one."""

from dataclasses import replace

from torch import Tensor

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.types import Critic, Stats, Turn, Verdict


class Extended(Objective):
    """Plays `base` with the first `base.logits` numbers of D's verdict; `extra` more are the subclass's own.

    What the base needs of the run, this needs too.
    """

    def __init__(self, base: Objective, extra: int = 0):
        super().__init__()
        if not base.critic:
            raise UsageError(
                f"objective.base: {type(base).__name__} has no discriminator whose features or further outputs could "
                "be used: take another base"
            )
        self.base, self.logits = base, base.logits + extra
        self.codes, self.has_targets, self.threshold = base.codes, base.has_targets, base.threshold
        self.energy, self.needs_lipschitz, self.needs_real = base.energy, base.needs_lipschitz, base.needs_real
        self.needs_classes, self.needs_labelled = base.needs_classes, base.needs_labelled
        self.class_conditional, self.tells_class = base.class_conditional, base.tells_class
        self.averages, self.matches_features = base.averages, base.matches_features

    def latent(self, noise: Tensor) -> Tensor:
        return self.base.latent(noise)

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self.base.d_loss(self._turn(turn), self._first(on_real), self._first(on_fake))

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return self.base.g_loss(self._turn(turn), self._first(on_fake))

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor | None:
        return self.base.estimate(self._turn(turn), self._first(on_real), self._first(on_fake))

    def report(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        return self.base.report(self._turn(turn), self._first(on_real), self._first(on_fake))

    def realness(self, logits: Tensor) -> Tensor | None:
        return self.base.realness(logits[:, : self.base.logits])

    def score(self, turn: Turn, image: Tensor, label: Tensor) -> Tensor:
        return self.base.score(self._turn(turn), image, label)

    def class_logits(self, logits: Tensor) -> Tensor | None:
        return self.base.class_logits(logits[:, : self.base.logits])

    def rest(self, verdict: Verdict) -> Tensor:
        """(N, extra) the numbers that are not the base's."""
        return verdict.logits[:, self.base.logits :]

    def _first(self, verdict: Verdict) -> Verdict:
        return verdict._replace(logits=verdict.logits[:, : self.base.logits])

    def _turn(self, turn: Turn) -> Turn:
        """The turn as the base may see it."""

        def narrowed(critic: Critic) -> Critic:
            return lambda image, label: self._first(critic(image, label))

        return replace(turn, judge=narrowed(turn.judge), critic=narrowed(turn.critic))
