"""The losses against the theory: two discrete distributions on four points, everything in float64.

`P` and `Q` are exact as frequencies of eight draws, so a batch mean is the expectation itself.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.updates import after_d, move
from gantool.objectives.hinge import Hinge
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.maximum_likelihood import MaximumLikelihood
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.relativistic import Relativistic
from gantool.objectives.wasserstein import Wasserstein
from gantool.tricks.gradient_penalty import GradientPenalty
from gantool.tricks.weight_clipping import WeightClipping
from toys import Fixed, Linear, players, turn, verdict

P = torch.tensor([4, 2, 1, 1], dtype=torch.float64) / 8
Q = torch.tensor([1, 1, 2, 4], dtype=torch.float64) / 8


def draws(share: Tensor) -> Tensor:
    """Eight draws with exactly these frequencies."""
    return torch.arange(4).repeat_interleave((8 * share).long())


def d_loss(objective, a: Tensor, p: Tensor = P, q: Tensor = Q, targets: tuple[float, float] = (1.0, 0.0)) -> Tensor:
    """D's loss where it says a[i] of point i."""
    real, fake = a[draws(p)], a[draws(q)]
    return objective.d_loss(turn(real, fake, targets=targets), verdict(real), verdict(fake))


def g_loss(objective, a: Tensor, q: Tensor = Q) -> Tensor:
    fake = a[draws(q)]
    return objective.g_loss(turn(fake[:0], fake), verdict(fake))


def slope(loss, a: Tensor) -> Tensor:
    a = a.clone().requires_grad_(True)
    return torch.autograd.grad(loss(a), a)[0]


def entropy(p: Tensor) -> float:
    return -float(torch.special.xlogy(p, p).sum())


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


# ---------------------------------------------------------------- 2014


@pytest.mark.parametrize("p, q", [(P, Q), (Q, P), (P, P), (P, torch.full((4,), 0.25, dtype=torch.float64))])
def test_minimax_value_at_the_optimal_d_is_jensen_shannon(p, q):
    """Goodfellow et al. 2014, theorem 1: V = -log 4 + 2 JSD(p, q), and -log 4 only where p = q."""
    value = -float(d_loss(Minimax(), torch.log(p / q), p, q))
    assert value == pytest.approx(-math.log(4) + 2 * jensen_shannon(p, q), abs=1e-12)
    assert (value - -math.log(4) < 1e-12) == torch.equal(p, q)


@pytest.mark.parametrize("objective", [Minimax(), NonSaturating(), MaximumLikelihood()], ids=type)
def test_optimal_d_is_p_over_p_plus_q(objective):
    best = torch.log(P / Q)
    assert slope(lambda a: d_loss(objective, a), best).abs().max() < 1e-15
    for shift in torch.eye(4, dtype=torch.float64):
        assert d_loss(objective, best + 0.1 * shift) > d_loss(objective, best)
        assert d_loss(objective, best - 0.1 * shift) > d_loss(objective, best)


def test_minimax_is_zero_sum():
    """Trap: "minimax" that is the non-saturating cost. What G wins by moving a fake is exactly what D loses."""
    a = torch.tensor([-3.0, -0.5, 0.5, 3.0], dtype=torch.float64)
    through_reals = -P * torch.sigmoid(-a)
    through_fakes = slope(lambda a: d_loss(Minimax(), a), a) - through_reals
    assert torch.allclose(slope(lambda a: g_loss(Minimax(), a), a), -through_fakes, atol=1e-15)
    d_of_fakes = torch.sigmoid(a)[draws(Q)]
    assert float(g_loss(Minimax(), a)) == pytest.approx(float(torch.log1p(-d_of_fakes).mean()), abs=1e-12)


def test_only_the_minimax_gradient_vanishes_where_d_is_sure():
    """Goodfellow et al. 2014, section 3: as D(G(z)) -> 0, d/da of log(1-D) -> 0 while that of -log D -> -1."""
    for a in (-5.0, -10.0, -20.0):
        sure = torch.full((4,), a, dtype=torch.float64)
        d = 1 / (1 + math.exp(-a))
        minimax, non_saturating = (slope(lambda a, o=o: g_loss(o(), a), sure).sum() for o in (Minimax, NonSaturating))
        assert float(minimax) == pytest.approx(-d, rel=1e-9)
        assert float(non_saturating) == pytest.approx(-(1 - d), rel=1e-9)
    assert abs(minimax) < 1e-8
    assert abs(non_saturating) > 1 - 1e-8


def test_non_saturating_losses_at_zero_and_far_out():
    """D says 1/2 of everything: both terms log 2. Far out nothing overflows."""
    undecided = torch.zeros(4, dtype=torch.float64)
    assert float(d_loss(NonSaturating(), undecided)) == pytest.approx(2 * math.log(2))
    assert float(g_loss(NonSaturating(), undecided)) == pytest.approx(math.log(2))
    assert float(g_loss(NonSaturating(), torch.full((4,), -1e4))) == pytest.approx(1e4)
    assert float(d_loss(NonSaturating(), torch.full((4,), 1e4, dtype=torch.float64))) == pytest.approx(1e4)


# ---------------------------------------------------------------- the three costs of the 2016 tutorial

COSTS = {  # of G, and their slopes, by d = D(G(z)): Goodfellow 2016, sections 3.2.1, 3.2.3 and 3.2.5, figure 16
    "minimax": (Minimax(), lambda d: torch.log(1 - d), lambda d: -1 / (1 - d)),
    "non_saturating": (NonSaturating(), lambda d: -torch.log(d), lambda d: -1 / d),
    "maximum_likelihood": (MaximumLikelihood(), lambda d: -d / (1 - d), lambda d: -1 / (1 - d) ** 2),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_of_g_over_the_output_of_d(name):
    objective, value, slope_of = COSTS[name]
    for d in torch.tensor([1e-6, 0.01, 0.25, 0.5, 0.75, 0.99], dtype=torch.float64):
        a = torch.logit(d).reshape(1).requires_grad_(True)
        cost = objective.g_loss(turn(a[:0], a), verdict(a))
        through_d = torch.autograd.grad(cost, a)[0] / (d * (1 - d))
        assert float(cost.detach()) == pytest.approx(float(value(d)), rel=1e-9)
        assert float(through_d) == pytest.approx(float(slope_of(d)), rel=1e-9)


def test_what_figure_16_shows():
    """Where D is sure, minimax and maximum likelihood are flat in D's output; the latter learns from the best fakes."""
    sure, fooled = (torch.tensor([a], dtype=torch.float64) for a in (-9.0, 9.0))
    slopes = {
        name: [abs(float(slope(lambda a, o=o: o.g_loss(turn(a[:0], a), verdict(a)), at))) for at in (sure, fooled)]
        for name, (o, _, _) in COSTS.items()
    }
    assert slopes["minimax"][0] < 2e-4 and slopes["maximum_likelihood"][0] < 2e-4
    assert slopes["non_saturating"][0] > 0.99
    assert slopes["maximum_likelihood"][1] > 8000 * slopes["minimax"][1]


def test_maximum_likelihood_follows_the_likelihood():
    """Goodfellow 2014, section 4: with D = p/(p+q), the gradient of -E exp(a(G(z))) is that of KL(p || q).

    G(z) = mu + sigma z, z at 20,000 quantiles of N(0, 1); p = N(m, s), for which KL has a closed form.
    """
    m, s, mu, sigma = 0.4, 0.7, *(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.3, 1.2))
    p, q = torch.distributions.Normal(m, s), torch.distributions.Normal(mu.detach(), sigma.detach())
    z = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    x = mu + sigma * z
    cost = MaximumLikelihood().g_loss(turn(x[:0], x), verdict(p.log_prob(x) - q.log_prob(x)))
    found = torch.autograd.grad(cost, (mu, sigma))
    kl = torch.log(sigma / s) + (s**2 + (m - mu) ** 2) / (2 * sigma**2) - 0.5
    assert torch.allclose(torch.stack(found), torch.stack(torch.autograd.grad(kl, (mu, sigma))), atol=1e-6)


def test_a_clamped_fake_teaches_nothing():
    a = torch.tensor([1.0, 3.0, 1e4], requires_grad=True)
    cost = MaximumLikelihood(max_logit=2.0).g_loss(turn(a[:0], a), verdict(a))
    assert float(cost.detach()) == pytest.approx(-(math.e + 2 * math.e**2) / 3)
    assert torch.autograd.grad(cost, a)[0].tolist() == pytest.approx([-math.e / 3, 0, 0])


# ---------------------------------------------------------------- least squares


def test_least_squares_by_hand():
    """a=0, b=1, c=1 with D(real) = 3, D(fake) = -1: D pays (3-1)^2/2 + (-1-0)^2/2, G pays (-1-1)^2/2."""
    real, fake = torch.tensor([3.0, 3.0]), torch.tensor([-1.0, -1.0])
    objective = LeastSquares()
    assert float(objective.d_loss(turn(real, fake), verdict(real), verdict(fake))) == 2.5
    assert float(objective.g_loss(turn(real[:0], fake), verdict(fake))) == 2.0


@pytest.mark.parametrize("a, b", [(-1.0, 1.0), (0.0, 1.0), (2.0, -3.0)])
def test_least_squares_optimal_d(a, b):
    """Mao et al. 2016, equation 5: D* = (b p + a q) / (p + q); reported as accurate on either side of the middle."""
    best = (b * P + a * Q) / (P + Q)
    assert slope(lambda d: d_loss(LeastSquares(a, b), d), best).abs().max() < 1e-15
    assert LeastSquares(a, b).threshold == ((a + b) / 2 if a < b else None)


def test_least_squares_is_pearson_chi_squared():
    """Mao et al. 2016, equation 9: with (a, b, c) = (-1, 1, 0), 2 C(G) = chi2(p + q || 2 q) at the optimal D.

    C(G) also has the reals' term, which no generator changes.
    """
    best = (P - Q) / (P + Q)
    cost = g_loss(LeastSquares(-1.0, 1.0, 0.0), best, Q) + g_loss(LeastSquares(-1.0, 1.0, 0.0), best, P)
    chi_squared = ((2 * Q - (P + Q)).square() / (P + Q)).sum()
    assert float(cost) == pytest.approx(float(chi_squared) / 2, abs=1e-12)


# ---------------------------------------------------------------- hinge


def test_hinge_at_its_margins():
    """At +-1 and beyond D pays nothing and gets no gradient; on the wrong side it pays the distance."""
    for real, fake, paid in ((1, -1, 0), (3, -5, 0), (0, 0, 2), (-1, 1, 4), (0.5, -2, 0.5), (2, 0.25, 1.25)):
        real, fake = torch.full((3,), float(real)), torch.full((3,), float(fake))
        assert float(Hinge().d_loss(turn(real, fake), verdict(real), verdict(fake))) == paid
        assert float(Hinge().g_loss(turn(real, fake), verdict(fake))) == -float(fake[0])
    beyond = slope(lambda a: Hinge().d_loss(turn(a, a), verdict(a), verdict(-a)), torch.tensor([1.5, 0.5]))
    assert beyond.tolist() == [0.0, -1.0]


# ---------------------------------------------------------------- relativistic


def relativistic(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """D's loss and G's, where D says of an example what it is."""
    shown = turn(real, fake, critic=lambda image, label: verdict(image))
    objective = Relativistic()
    return float(objective.d_loss(shown, verdict(real), verdict(fake))), float(objective.g_loss(shown, verdict(fake)))


def test_relativistic_players_want_opposites():
    """Jolicoeur-Martineau 2018, section 4.1: G's loss is D's with real and fake exchanged; a shift of D is nothing."""
    real, fake = torch.tensor([0.3, -2.0, 1.0]).double(), torch.tensor([1.5, -1.0, -4.0]).double()
    of_d, of_g = relativistic(real, fake)
    by_hand = [math.log1p(math.exp(b - a)) for a, b in zip(real.tolist(), fake.tolist(), strict=True)]
    assert of_d == pytest.approx(sum(by_hand) / 3)
    assert (of_g, of_d) == pytest.approx(relativistic(fake, real))
    assert (of_d, of_g) == pytest.approx(relativistic(real + 7, fake + 7))
    assert of_d - of_g == pytest.approx(float((fake - real).mean()))  # softplus(t) - softplus(-t) = t
    assert relativistic(real, real) == pytest.approx((math.log(2), math.log(2)))
    assert relativistic(real - 1e4, fake)[0] == pytest.approx(1e4 + float((fake - real).mean()))


def test_relativistic_generator_sees_reals():
    """In G's turn D judges a batch of reals, with their own labels; its gradient reaches G through the fakes."""
    source = Fixed(torch.full((4, 1), 3.0))
    game = Game(Point(1), Linear(torch.ones(1)), Relativistic(), {}, source)
    loss, _ = game.g_loss()
    assert (source.asked, float(loss.detach())) == (1, pytest.approx(math.log1p(math.exp(3))))
    (gradient,) = torch.autograd.grad(loss, game.nets["generator"].at)
    assert float(gradient) == pytest.approx(-1 / (1 + math.exp(-3)))
    labels = []
    shown = turn(torch.ones(2), torch.ones(2), critic=lambda image, label: labels.append(label) or verdict(image))
    Relativistic().g_loss(shown, verdict(torch.ones(2)))
    assert [label.tolist() for label in labels] == [[7, 7]]


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize("alpha, beta", [(1.0, 0.0), (0.9, 0.0), (0.9, 0.1)])
def test_optimum_with_smoothed_targets(alpha, beta):
    """Salimans et al. 2016, section 3.4: D* = (alpha p + beta q) / (p + q)."""
    best = (alpha * P + beta * Q) / (P + Q)
    for objective in (Minimax(), NonSaturating(), MaximumLikelihood()):
        gradient = slope(lambda a, o=objective: d_loss(o, a, targets=(alpha, beta)), torch.logit(best))
        assert gradient.abs().max() < 1e-15
    assert slope(lambda a: d_loss(LeastSquares(), a, targets=(alpha, beta)), best).abs().max() < 1e-15
    scaled = -1 + 3 * best  # a = -1, b = 2
    assert slope(lambda a: d_loss(LeastSquares(-1, 2), a, targets=(alpha, beta)), scaled).abs().max() < 1e-15


# ---------------------------------------------------------------- Wasserstein


def test_wasserstein_is_a_difference_of_means():
    a = torch.tensor([1.0, -2.0, 0.5, 7.0], dtype=torch.float64)
    assert float(d_loss(Wasserstein(), a)) == pytest.approx(float((Q * a).sum() - (P * a).sum()), abs=1e-15)
    assert float(g_loss(Wasserstein(), a)) == pytest.approx(-float((Q * a).sum()), abs=1e-15)
    assert Wasserstein().needs_lipschitz
    assert not Wasserstein().has_targets
    assert Wasserstein().threshold is None


class Point(nn.Module):
    """G: everything at the origin."""

    def __init__(self, dim: int):
        super().__init__()
        self.at = nn.Parameter(torch.zeros(dim))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.at.expand(len(latent), -1)


def estimate(trick, critic: nn.Module, source: nn.Module, generator: nn.Module, steps: int, **optimizer) -> float:
    """E D(x) - E D(G(z)) after steps of D alone."""
    game = Game(generator, critic, Wasserstein(), {"constraint": trick}, source)
    d, _ = players(game, **optimizer)
    for _ in range(steps):
        move(game, d, d.grads(game.d_loss()[0]))
        after_d(game)
    return -float(game.d_loss()[1]["d_loss"])


def test_penalised_critic_estimates_the_distance_of_two_points():
    """W1 = 5. A penalty of weight L lets the slope rise to s = 1 + 5 / (2 L): the maximum of 5 s - L (s - 1)^2."""
    constraint, reals = GradientPenalty(weight=250.0), torch.tensor([3.0, 4.0]).expand(8, 2)
    found = estimate(constraint, Linear(torch.zeros(2)), Fixed(reals), Point(2), steps=100, lr=0.001)
    assert found == pytest.approx(5 * (1 + 5 / 500), rel=1e-4)


def test_clipped_critic_estimates_the_distance_of_two_points():
    """On a line, weights in [-c, c] allow a slope of c: the estimate is c W1 (Arjovsky et al. 2017, section 3)."""
    source = Fixed(torch.full((8, 1), 3.0))
    found = estimate(WeightClipping(0.01), Linear(torch.zeros(1)), source, Point(1), steps=20, lr=0.01)
    assert found == pytest.approx(0.01 * 3)


class TwoGaussians(nn.Module):
    """N(2, 1) for reals and N(0, 1) for latents, which this generator hands on: W1 = 2."""

    batch_size, num_classes = 256, 0

    def reals(self) -> tuple[Tensor, Tensor]:
        return torch.randn(256, 1) + 2, torch.full((256,), -1)

    def latents(self) -> tuple[Tensor, Tensor]:
        return torch.randn(256, 1), torch.full((256,), -1)


class Shifted(Point):
    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return latent + self.at


class Small(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(image))


def test_penalised_critic_estimates_the_distance_of_two_gaussians():
    torch.manual_seed(0)
    constraint = GradientPenalty(weight=30.0)
    found = estimate(constraint, Small(), TwoGaussians(), Shifted(1), steps=400, lr=0.01, optimizer=torch.optim.Adam)
    assert found == pytest.approx(2.0, abs=0.3)  # a batch of 256 is off by 0.09, the soft penalty adds up to 2^2 / 60
