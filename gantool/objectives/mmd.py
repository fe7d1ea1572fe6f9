"""Two samples compared by a kernel."""

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.ranges import Count, Positive
from gantool.game.types import Turn, Verdict


class MomentMatching(Objective):
    """G lowers MMD^2(data, samples); no discriminator (Li, Swersky and Zemel 2015, equation 5; Dziugaite et al. 2015).

    The kernel is a sum of Gaussians, k(x, y) = sum_s exp(-|x - y|^2 / (2 s^2)), of the numbers of an example and, in
    class-conditional runs, its one-hot class. `relative`: the bandwidths s are multiples of the median distance between
    the batch's examples, real and fake. `unbiased` leaves out k(x, x), so that MMD^2 is 0 on average for p = q.
    """

    critic = False
    needs_real = True
    threshold = None

    def __init__(
        self,
        bandwidths: list[Positive] = [0.25, 0.5, 1.0, 2.0],  # noqa: B006 (read only)
        relative: bool = True,
        unbiased: bool = True,
    ):
        super().__init__()
        if not bandwidths:
            raise UsageError("objective.bandwidths=[] leaves no kernel: give one or more")
        self.bandwidths, self.relative, self.unbiased = bandwidths, relative, unbiased

    def realness(self, logits: Tensor) -> None:
        return None

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return self.distance(turn.judge(turn.real, turn.label).logits, on_fake.logits)

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self.distance(on_real.logits, on_fake.logits)

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """(N, K), (M, K) -> MMD^2, scalar (Gretton et al. 2012, equations 3 and 5)."""
        unit = self.unit(real, fake)
        within = self._within(self.kernel(real, real, unit)) + self._within(self.kernel(fake, fake, unit))
        return within - 2 * self.kernel(real, fake, unit).mean()

    def kernel(self, x: Tensor, y: Tensor, unit: Tensor) -> Tensor:
        """(N, K), (M, K), () -> (N, M)."""
        squares = _squared_distances(x, y) / unit.square()
        return torch.stack([torch.exp(-squares / (2 * s**2)) for s in self.bandwidths]).sum(dim=0)

    @torch.no_grad()
    def unit(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the bandwidths are multiples of: 1, or the median distance between two different examples."""
        if not self.relative:
            return real.new_ones(())
        both = torch.cat([real, fake])
        n = len(both)
        ordered = _squared_distances(both, both).flatten()  # the n smallest are those of an example from itself
        return ordered.kthvalue(n + n * (n - 1) // 2).values.sqrt().clamp(min=1e-6)

    def _within(self, kernel: Tensor) -> Tensor:
        if not self.unbiased:
            return kernel.mean()
        n = len(kernel)
        return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


class MMDGAN(MomentMatching):
    """D learns the kernel: it raises the MMD^2 of its embeddings h(v), `dimensions` numbers, and G lowers it.

    (Li et al. 2017, without their decoder; Binkowski et al. 2018.) A gradient penalty acts on the witness function
    E k(h(v), h(x)) - E k(h(v), h(G(z))) (Binkowski et al. 2018, section 2.2).
    """

    critic = True
    needs_lipschitz = True

    def __init__(
        self,
        dimensions: Count = 16,
        bandwidths: list[Positive] = [1.0, 2.0, 4.0, 8.0, 16.0],  # noqa: B006 (read only)
        relative: bool = False,
        unbiased: bool = True,
    ):
        super().__init__(bandwidths, relative, unbiased)
        self.logits = dimensions

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return -self.distance(on_real.logits, on_fake.logits)

    def score(self, turn: Turn, image: Tensor, label: Tensor) -> Tensor:
        """The witness function, its expectations over this turn's batches."""
        here = turn.critic(image, label).logits
        real = turn.critic(turn.real, turn.label).logits
        fake = turn.critic(turn.fake, turn.fake_label).logits
        unit = self.unit(real, fake)
        return self.kernel(here, real, unit).mean(dim=1) - self.kernel(here, fake, unit).mean(dim=1)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, K), (M, K) -> (N, M)."""
    return (x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T).clamp(min=0)
