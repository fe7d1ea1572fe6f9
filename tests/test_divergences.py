"""What the column `divergence` says: exact at the best D, less at any other, and reached by a D that is trained.

First two distributions on four points, as frequencies of eight draws, in float64. Then p(x) = 1/2 + x and
q(x) = 3/2 - x on [0, 1], whose ratio, quantiles and integrals are elementary; a small net plays D, alone.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.player import Player
from gantool.objectives.f_gan import FGAN
from gantool.objectives.hinge import Hinge
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.maximum_likelihood import MaximumLikelihood
from gantool.objectives.minimax import Minimax
from gantool.objectives.mmd_gan import MMDGAN
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.relativistic import Relativistic
from gantool.objectives.wasserstein import Wasserstein
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import F_DIVERGENCES, Fixed, Linear, Scalar, turn, verdict

P = torch.tensor([4, 2, 1, 1], dtype=torch.float64) / 8
Q = torch.tensor([1, 1, 2, 4], dtype=torch.float64) / 8
CROSS_ENTROPY = [Minimax(), NonSaturating(), MaximumLikelihood()]


def estimate(objective: Objective, a: Tensor, p: Tensor = P, q: Tensor = Q, targets=(1.0, 0.0)) -> float:
    """Where D says a[i] of point i, over all pairs of eight reals and eight fakes."""
    real, fake = (torch.arange(len(a)).repeat_interleave((8 * share).long()) for share in (p, q))
    real, fake = a[real].repeat_interleave(8), a[fake].repeat(8)
    found = objective.estimate(turn(real, fake, targets=targets), verdict(real), verdict(fake))
    assert found.shape == ()
    return float(found)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    middle = (p + q) / 2
    return float((torch.special.xlogy(p, p / middle) + torch.special.xlogy(q, q / middle)).sum()) / 2


BEST = {  # objective, D's best output of u = p/q, the divergence that it implies
    **{type(o).__name__: (o, torch.log, jensen_shannon(P, Q)) for o in CROSS_ENTROPY},
    "hinge": (Hinge(), lambda u: (u - 1).sign(), float((P - Q).abs().sum()) / 2),
} | {
    f"least_squares {a} {b}": (
        LeastSquares(a, b, 0.3), lambda u, a=a, b=b: (b * u + a) / (u + 1), float(((P - Q).square() / (P + Q)).sum())
    )
    for a, b in ((0.0, 1.0), (-1.0, 1.0), (2.0, -3.0))
}  # fmt: skip


@pytest.mark.parametrize("name", BEST)
def test_the_best_d_names_the_divergence_and_any_other_less(name):
    objective, best, divergence = BEST[name]
    a = best(P / Q)
    assert estimate(objective, a) == pytest.approx(divergence, abs=1e-12)
    torch.manual_seed(0)
    for size in (0.01, 0.1, 1.0, 10.0):
        for _ in range(20):
            assert estimate(objective, a + size * torch.randn(4, dtype=torch.float64)) < divergence + 1e-12
    assert estimate(objective, best(P / P), P, P) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("objective", [*CROSS_ENTROPY, LeastSquares()], ids=lambda o: type(o).__name__)
def test_smoothed_targets_do_not_enter(objective):
    a = torch.tensor([1.0, 0.2, -0.1, -2.0], dtype=torch.float64)
    assert estimate(objective, a, targets=(0.9, 0.1)) == estimate(objective, a)


def test_jensen_shannon_ends_at_log_2():
    """Disjoint supports, and a D that knows: log 2 nats."""
    a, p = torch.tensor([50.0, -50.0], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert estimate(NonSaturating(), a, p, 1 - p) == pytest.approx(math.log(2), abs=1e-12)
    assert estimate(Relativistic(), a, p, 1 - p) == pytest.approx(math.log(2), abs=1e-12)
    assert estimate(Hinge(), a, p, 1 - p) == 1
    assert estimate(LeastSquares(), p, p, 1 - p) == 2


def test_no_regression_no_divergence():
    """With one target for both D learns nothing of them: the column is left out."""
    assert LeastSquares(1.0, 1.0).estimate(turn(P, Q), verdict(P), verdict(Q)) is None
    game = Game(Scalar(1.0), Linear(torch.ones(1)), LeastSquares(1.0, 1.0), {}, Fixed(torch.ones(4, 1)))
    assert "divergence" not in game.d_loss()[1]


def test_relativistic_divergence_of_two_coins():
    """D says c of heads and 0 of tails. Of A = P(heads, tails) and B = P(tails, heads) follows the best
    sigmoid(c) = A/(A+B), and there the divergence is A log(2A/(A+B)) + B log(2B/(A+B)): equal sides give log 1/2.
    """
    heads_tails, tails_heads = 6 / 8 * 5 / 8, 2 / 8 * 3 / 8
    coins = (torch.tensor([6 / 8, 2 / 8], dtype=torch.float64), torch.tensor([3 / 8, 5 / 8], dtype=torch.float64))
    half = (heads_tails + tails_heads) / 2
    known = heads_tails * math.log(heads_tails / half) + tails_heads * math.log(tails_heads / half)
    best = math.log(heads_tails / tails_heads)
    assert estimate(Relativistic(), torch.tensor([best, 0.0]).double(), *coins) == pytest.approx(known, abs=1e-7)
    for other in (best + 0.1, best - 0.1, 0.0, -best):
        assert estimate(Relativistic(), torch.tensor([other, 0.0]).double(), *coins) < known
    assert estimate(Relativistic(), torch.tensor([3.0, 3.0]).double(), *coins) == pytest.approx(0, abs=1e-12)


def test_wasserstein_divergence_at_the_best_critic():
    """W1 of two distributions on the points 0..3 is the area between their distribution functions."""
    below = (P - Q).cumsum(0)
    w1 = float(below.abs().sum())
    critic = torch.cat([torch.zeros(1).double(), -below[:3].sign().cumsum(0)])
    assert estimate(Wasserstein(), critic) == pytest.approx(w1, abs=1e-12)


# ---------------------------------------------------------------- a D that is trained

GRID = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
p, q = 0.5 + GRID, 1.5 - GRID
INSIDE = torch.linspace(0.03, 0.97, 95)


class TwoRamps(nn.Module):
    """Shuffled draws of p and, as latents, of q: one from each of `batch_size` slices of equal probability."""

    num_classes, batch_size = 0, 512

    def _draw(self) -> tuple[Tensor, Tensor]:
        share = (torch.randperm(self.batch_size) + torch.rand(self.batch_size)) / self.batch_size
        return (torch.sqrt(0.25 + 2 * share) - 0.5)[:, None], torch.full((self.batch_size,), -1)

    def reals(self) -> tuple[Tensor, Tensor]:
        return self._draw()

    def latents(self) -> tuple[Tensor, Tensor]:
        mirrored, label = self._draw()
        return 1 - mirrored, label


class HandsOn(nn.Module):
    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return latent


class Net(nn.Module):
    """Begins uphill: on a line a gradient penalty is content with a slope of -1 too, and holds it there."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
        low, high = self.body(torch.tensor([[-1.0], [1.0]])).detach()
        self.body[-1].weight.data *= (high - low).sign()

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(2 * image - 1))


def trained(
    objective: Objective, steps: int = 400, last: int = 2**15, **tricks
) -> tuple[Callable[[Tensor], Tensor], float]:
    """D's output as a function of x after steps of D alone, and what the game then logs of `last` draws each."""
    torch.manual_seed(0)
    source = TwoRamps()
    game = Game(HandsOn(), Net(), objective, tricks, source)
    d = Player(game.nets["discriminator"].parameters(), partial(torch.optim.Adam, lr=0.01))
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(d.optimizer, steps)
    for _ in range(steps):
        d.apply(d.grads(game.d_loss()[0]))
        rates.step()
    source.batch_size = last
    logged = game.d_loss()[1]["divergence"]
    assert logged.shape == () and not logged.requires_grad
    return lambda x: game.nets["discriminator"](x[:, None], x).logits[:, 0], float(logged)


def integral(values: Tensor) -> float:
    return float(values.mean())


class Known(NamedTuple):
    objective: Objective
    output: Callable[[Tensor], Tensor]  # of D's logit
    best: Callable[[Tensor], Tensor]  # of u = p/q
    divergence: float


def slope_of(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def derivative(u: Tensor) -> Tensor:
        u = u.detach().requires_grad_(True)
        return torch.autograd.grad(f(u).sum(), u)[0]

    return derivative


def alpha_half(u: Tensor) -> Tensor:
    return 2 * (u.sqrt() - 1) ** 2


def ramps_of(name: str, f: Callable[[Tensor], Tensor]) -> Known:
    objective = FGAN(name)  # type: ignore[arg-type]
    normalised = integral(q * f(p / q)) - float(f(torch.ones(1)))  # 0 for p = q, whatever f
    return Known(objective, objective.bound.output, slope_of(f), normalised)


KNOWN = {
    **{
        type(o).__name__: Known(o, torch.sigmoid, lambda u: u / (1 + u), jensen_shannon(p, q) / 2000)
        for o in CROSS_ENTROPY
    },
    "least_squares": Known(
        LeastSquares(-1.0, 1.0, 0.0), lambda a: a, lambda u: (u - 1) / (u + 1), integral((p - q) ** 2 / (p + q))
    ),
    **{f"f_gan {name}": ramps_of(name, f) for name, f in (F_DIVERGENCES | {"alpha": alpha_half}).items()},
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_trained_d_reaches_its_optimum_and_the_divergence(name):
    """D* = p/(p+q), T* = f'(p/q), ... to 8 % of its range; the divergence, a lower bound, to 1 %."""
    known = KNOWN[name]
    logit, logged = trained(known.objective)
    assert logged == pytest.approx(known.divergence, rel=0.01)
    apart = (INSIDE - 0.5).abs() > (0.1 if "total" in name else -1)  # a net makes a ramp of the step of TV
    x = INSIDE[apart]
    best = known.best((0.5 + x) / (1.5 - x))
    error = (known.output(logit(x)) - best).abs().max()
    assert error < 0.08 * (best.max() - best.min())


def test_the_quadrature_by_hand():
    """With s = 1/2 + x and r = 3/2 - x both in [1/2, 3/2] these integrals are elementary."""
    js = 9 / 8 * math.log(3 / 2) + math.log(2) / 8 - 1 / 2  # integral of s log s, since (p + q) / 2 = 1
    kl = 1 - 3 / 4 * math.log(3)
    chi2 = 4 * math.log(3) - 4  # 4 (1 - r)^2 / r
    hellinger = 2 - math.sqrt(3) / 2 - math.pi / 3  # 2 - 2 sqrt(s r), with s r = 1 - (x - 1/2)^2
    by_hand = {"Minimax": js, "f_gan jensen_shannon": 2 * js, "f_gan gan": 2 * js, "least_squares": 1 / 6}
    by_hand |= {"f_gan kl": kl, "f_gan reverse_kl": kl, "f_gan pearson_chi2": chi2, "f_gan neyman_chi2": chi2}
    by_hand |= {"f_gan squared_hellinger": hellinger, "f_gan alpha": 2 * hellinger, "f_gan total_variation": 1 / 4}
    for name, value in by_hand.items():
        assert KNOWN[name].divergence == pytest.approx(value, abs=1e-6), name


def test_a_trained_hinge_d_is_a_sign_and_measures_total_variation():
    logit, logged = trained(Hinge())
    assert logged == pytest.approx(1 / 4, rel=0.03)
    assert (logit(INSIDE[INSIDE < 0.4]) < -0.9).all() and (logit(INSIDE[INSIDE > 0.6]) > 0.9).all()


def test_a_trained_critic_has_slope_one_and_measures_the_distance():
    """W1 = integral of |F_q - F_p| = integral of x (1 - x) = 1/6.

    A penalty of weight L on points of density r lets the slope rise to 1 + x(1 - x) / (2 L r), here 1.01.
    """
    logit, logged = trained(Wasserstein(), gradient_penalty=GradientPenalty(weight=10.0))
    assert logged == pytest.approx(1 / 6, rel=0.03)
    x = INSIDE.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(logit(x).sum(), x)
    assert (slope - 1).abs().max() < 0.1


def test_a_trained_relativistic_d_measures_its_divergence():
    """Against the best of all functions on 100 points, by Newton's method (L-BFGS) on all pairs."""
    x = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    pairs = (0.5 + x)[:, None] * (1.5 - x) / 100**2
    a = torch.zeros(100, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([a], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = (pairs * nn.functional.softplus(a - a[:, None])).sum()
        value.backward()
        return value

    solver.step(loss)
    known = math.log(2) - float(loss().detach())
    logit, logged = trained(Relativistic())
    assert logged == pytest.approx(known, rel=0.03)
    found = logit(x.float()).double() - a.detach()
    assert (found - found.mean()).abs().max() < 0.05 * float(a.detach().max() - a.detach().min())


def test_a_learnt_kernel_logs_the_mmd_of_what_it_has_learnt():
    """MMD^2 = the double integral of k(h(x), h(y)) (p - q)(x) (p - q)(y), h what D has become (Li et al. 2017).

    D has raised it, as far as its penalty lets it, and the column is that integral over this very h.
    """
    x = GRID[::4]
    excess = (2 * x - 1) / len(x)  # ((1/2 + x) - (3/2 - x)) dx

    def quadrature(h: Tensor) -> float:
        squares = (h[:, None] - h[None]).square().sum(dim=2)
        kernel = sum(torch.exp(-squares / (2 * s**2)) for s in (0.5, 2.0))
        return float(excess @ kernel @ excess)

    learnt = MMDGAN(1, [0.5, 2.0])
    logit, logged = trained(learnt, steps=100, last=2**11, gp=GradientPenalty(weight=1.0))
    h = logit(x.float()).double().detach()[:, None]
    assert logged == pytest.approx(quadrature(h), rel=0.02)
    assert logged > 1.5 * quadrature(x[:, None]), "D has made them easier to tell apart than they are"
