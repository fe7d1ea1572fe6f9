"""Two samples compared by a kernel."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.ranges import Positive
from gantool.game.types import Source, Turn, Verdict


class MomentMatching(Objective):
    """G lowers MMD^2(data, samples); no discriminator (Li, Swersky and Zemel 2015, section 2; Dziugaite et al. 2015).

    The kernel is a sum of Gaussians, k(x, y) = sum_s exp(-|x - y|^2 / (2 s^2)), of all numbers of an example. In
    class-conditional runs it is 0 between two classes, so that G matches each class by itself. `relative`: the
    bandwidths s are multiples of the median distance between two examples of the batch, real or fake (Gretton et al.
    2012, section 8). `unbiased` leaves out k(x, x), so that MMD^2 is 0 on average for p = q, and may be negative.
    """

    critic = averages = False
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

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        if source.batch_size < 2:
            raise UsageError("this objective compares the examples of a batch: give batch_size=2, or better hundreds")

    def realness(self, logits: Tensor) -> None:
        return None

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        on_real = turn.judge(turn.real, turn.label)
        return self.distance(on_real.logits, on_fake.logits, on_real.features, on_fake.features)

    def distance(
        self, real: Tensor, fake: Tensor, real_class: Tensor | None = None, fake_class: Tensor | None = None
    ) -> Tensor:
        """(N, K), (M, K), one-hot (N, C), (M, C) -> MMD^2, scalar (Gretton et al. 2012, equations 3 and 5)."""
        squares = pairs(squared_distances, real, fake)
        unit = self.unit(*squares)
        kernels = [self.kernel(square, unit) for square in squares]
        if real_class is not None and fake_class is not None:
            same = pairs(lambda x, y: x @ y.T, real_class, fake_class)
            kernels = [kernel * factor for kernel, factor in zip(kernels, same, strict=True)]
        among_real, among_fake, between = kernels
        return self._within(among_real) + self._within(among_fake) - 2 * between.mean()

    def kernel(self, squares: Tensor, unit: Tensor) -> Tensor:
        """Squared distances (N, M), and the squared unit of the bandwidths, () -> (N, M)."""
        exponent, total = squares / (-2 * unit), torch.zeros_like(squares)
        for s in self.bandwidths:
            total = total + torch.exp(exponent / s**2)
        return total

    @torch.no_grad()
    def unit(self, among_real: Tensor, among_fake: Tensor, between: Tensor) -> Tensor:
        """Squared distances -> what squared bandwidths are multiples of: 1, or the median of two different examples."""
        if not self.relative:
            return between.new_ones(())
        within = (_off_diagonal(each).flatten() for each in (among_real, among_fake))  # each pair twice
        return torch.cat([*within, between.flatten(), between.flatten()]).median().clamp(min=1e-12)

    def _within(self, kernel: Tensor) -> Tensor:
        return (_off_diagonal(kernel) if self.unbiased else kernel).mean()


def pairs(compare: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor) -> list[Tensor]:
    """Among the reals (N, N), among the fakes (M, M), between them (N, M)."""
    return [compare(real, real), compare(fake, fake), compare(real, fake)]


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, K), (M, K) -> (N, M), by one product of matrices; seen from the middle of y, where rounding is least."""
    middle = y.detach().mean(dim=0)
    x, y = x - middle, y - middle
    return (x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T).clamp(min=0)


def _off_diagonal(square: Tensor) -> Tensor:
    """(N, N) -> (N - 1, N): all but the diagonal, which leads each row of N + 1."""
    n = len(square)
    return square.flatten()[:-1].view(n - 1, n + 1)[:, 1:]
