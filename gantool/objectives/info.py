"""Codes that a generator must not lose."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.extended import Extended
from gantool.game.hooks import Objective
from gantool.game.ranges import Count, Natural, NonNegative, Positive
from gantool.game.types import Stats, Turn, Verdict


class Info(Extended):
    """A latent begins with codes c, which Q finds again in G(z, c) (InfoGAN: Chen et al. 2016, sections 5 and 6).

    Both players raise `weight` * L_I beside `base`, L_I = E log Q(c | G(z, c)) + H(c) <= I(c; G(z, c)) (equation 5). Q
    is D's further logits: it shares all but the last layer with D, and learns in D's turn (as in the released code,
    where both losses hold the term). Categorical codes are uniform, one-hot, Q a softmax; continuous ones are uniform
    in [-1, 1], Q a Gaussian around a logit, of fixed width `std`.
    """

    def __init__(
        self,
        base: Objective,
        categorical: list[Count] = [10],  # noqa: B006 (read only)
        continuous: Natural = 2,
        weight: NonNegative = 1.0,
        continuous_weight: NonNegative = 0.1,
        std: Positive = 1.0,
    ):
        codes = (*categorical, *(1 for _ in range(continuous)))
        super().__init__(base, sum(codes))
        if base.codes:
            raise UsageError("objective.base has codes of its own, which would mix with these: take another base")
        if not codes or 1 in categorical:
            raise UsageError("objective.categorical: give codes of 2 or more values, or continuous codes, or both")
        self.codes, self.sizes, self.continuous = codes, tuple(categorical), continuous
        self.weight, self.continuous_weight, self.std = weight, continuous_weight, std

    def latent(self, noise: Tensor) -> Tensor:
        n, device = len(noise), noise.device
        one_hot = [
            (torch.randint(size, (n, 1), device=device) == torch.arange(size, device=device)).to(noise.dtype)
            for size in self.sizes
        ]
        uniform = 2 * torch.rand(n, self.continuous, dtype=noise.dtype, device=device) - 1
        return torch.cat([*one_hot, uniform, noise[:, sum(self.codes) :]], dim=1)

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return super().d_loss(turn, on_real, on_fake) - self._weighed(turn, on_fake)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return super().g_loss(turn, on_fake) - self._weighed(turn, on_fake)

    def class_logits(self, logits: Tensor) -> Tensor | None:
        """Of the base, if it sorts by class; else those of the first categorical code."""
        of_base = super().class_logits(logits)
        return logits[:, self.base.logits :][:, : self.sizes[0]] if of_base is None and self.sizes else of_base

    def report(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        """L_I in nats, of either kind of code: at most log(values) for each categorical one."""
        found = {"information": self.information(turn.latent, on_fake)[0]} if self.sizes else {}
        if self.continuous:
            found["information_continuous"] = self._of_numbers(turn.latent, on_fake)
        return super().report(turn, on_real, on_fake) | found

    def _of_numbers(self, latent: Tensor, on_fake: Verdict) -> Tensor:
        """L_I of the continuous codes with the best width for each: log 2 - log(2 pi e E error^2) / 2, which is larger
        than with `std` and a lower bound as well.
        """
        first = sum(self.sizes)
        errors = latent[:, first : sum(self.codes)] - self.rest(on_fake)[:, first:]
        spread = errors.square().mean(dim=0).clamp(min=1e-12)
        return (math.log(2) - (2 * math.pi * math.e * spread).log() / 2).sum()

    def information(self, latent: Tensor, on_fake: Verdict) -> tuple[Tensor, Tensor]:
        """(N, Z) -> L_I of the categorical and of the continuous codes, scalars in nats."""
        split = [*self.sizes, self.continuous]
        *values, numbers = latent[:, : sum(split)].split(split, dim=1)
        *logits, means = self.rest(on_fake).split(split, dim=1)
        categorical = means.new_zeros(())
        for size, value, logit in zip(self.sizes, values, logits, strict=True):
            categorical = categorical + (value * F.log_softmax(logit, dim=1)).sum(dim=1).mean() + math.log(size)
        errors = ((numbers - means) / self.std).square().sum(dim=1).mean()
        most = math.log(2) - math.log(self.std * math.sqrt(2 * math.pi))  # of one code, where Q has no error
        return categorical, self.continuous * most - errors / 2

    def _weighed(self, turn: Turn, on_fake: Verdict) -> Tensor:
        categorical, continuous = self.information(turn.latent, on_fake)
        return self.weight * categorical + self.continuous_weight * continuous
