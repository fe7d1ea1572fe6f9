"""Penalties on the slope of D at chosen points, each example by itself."""

import logging
from typing import Literal

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.game.networks import examples_meet
from gantool.game.noise import drawn_like
from gantool.game.ranges import Count, NonNegative, Share
from gantool.game.types import Source, Turn, Verdict

log = logging.getLogger(__name__)


class GradientPenalty(Trick):
    """With s(v) = |dD/dv|, the Euclidean norm over one example's dimensions, adds to D's loss

    wgan_gp: weight   * E (s - 1)^2  at uniform interpolates of a real and a fake (Gulrajani et al. 2017, equation 3)
    dragan:  weight   * E (s - 1)^2  at x + alpha * u * (deviation of the batch) / 2, x a real, alpha and u uniform in
                                     [0, 1], one alpha an example, one u a number (Kodali et al. 2017, released code)
    r1, r2:  weight/2 * E s^2        at reals, at fakes (Mescheder et al. 2018, equation 9)

    in each round, or `every` so many rounds and so many times as much (lazy: Karras et al. 2020a, appendix B), on the
    first `share` of the batch, as their path length penalty is on half of it (ibid.); not where D compares examples.
    A point goes with the label of its example, an interpolate with that of its real. Reals and fakes are as D is shown
    them: augmented ones under an augmentation.
    """

    needs_critic = slopes = True

    def __init__(
        self,
        kind: Literal["wgan_gp", "dragan", "r1", "r2"] = "wgan_gp",
        weight: NonNegative = 10.0,
        every: Count = 1,
        share: Share = 1.0,
    ):
        super().__init__()
        self.share = share
        self.kind, self.weight, self.every, self.due = kind, weight, every, True
        self.lipschitz = weight > 0

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        if self.kind == "wgan_gp" and any(isinstance(layer, batch_norms) for layer in nets["discriminator"].modules()):
            log.warning(
                "BatchNorm in D ties the slopes of a batch's examples together (Gulrajani et al. 2017, section 4): "
                "take architecture.discriminator.normalization=layer or none"
            )

    def ready(self, nets: nn.ModuleDict) -> None:
        if self.share < 1 and examples_meet(nets["discriminator"]):
            raise UsageError(
                f"trick.gradient_penalty.share={self.share} shows D a smaller batch, and this D compares the examples "
                "of one: leave share out, or drop BatchNorm (architecture.discriminator.normalization=layer) and "
                "minibatch tricks"
            )

    def begin(self, step: int) -> bool:
        self.due = step % self.every == 0
        return self.due

    def d_penalty(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self.every * self._penalty(turn) if self.due else turn.fake.new_zeros(())

    def _penalty(self, turn: Turn) -> Tensor:
        point, label = self._points(turn)
        n = max(1, round(self.share * len(point)))
        point, label = point[:n], label[:n]
        if not point.requires_grad:  # else G is in it, whose gradient an update that differentiates D's steps follows
            point = point.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(turn.score(point, label).sum(), point, create_graph=True)
        slope = slope.flatten(1)
        if self.kind in ("r1", "r2"):
            return 0.5 * self.weight * slope.square().sum(dim=1).mean()
        return self.weight * (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()

    def _points(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Where the slope is taken: (N, *data shape), and the labels that go with it."""
        if self.kind == "r2":
            return turn.fake, turn.fake_label
        if self.kind == "dragan":
            noise = drawn_like(torch.rand, turn.real) * 0.5 * turn.real.std(correction=0)
            return turn.real + self._factor(turn) * noise, turn.label
        if self.kind == "r1":
            return turn.real, turn.label
        share = self._factor(turn)
        return share * turn.real + (1 - share) * turn.fake, turn.label

    def _factor(self, turn: Turn) -> Tensor:
        """(N, 1, ...) uniform in [0, 1]: one number an example."""
        shape = (len(turn.real), *(1 for _ in turn.real.shape[1:]))
        return torch.rand(shape, device=turn.real.device)
