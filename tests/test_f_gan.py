"""f-GAN against the definitions: f and its derivatives by hand, divergences by quadrature, everything in float64.

`F` has the generators f(u) of Nowozin, Cseke and Tomioka 2016, table 5; all else here follows from them.
"""

import math

import pytest
import torch
from torch import Tensor

from gantool.objectives.f_gan import BOUNDS, FGAN, alpha_bound
from toys import F_DIVERGENCES, refusal, turn, verdict

ALPHAS = (-1.0, 0.3, 0.5, 2.0, 3.0)
F = F_DIVERGENCES | {f"alpha {a}": lambda u, a=a: (u**a - 1 - a * (u - 1)) / (a * (a - 1)) for a in ALPHAS}
TOP = {  # of dom f*, where it has one (ibid., table 6)
    "reverse_kl": 0.0,
    "neyman_chi2": 1.0,
    "squared_hellinger": 1.0,
    "jensen_shannon": math.log(2),
    "gan": 0.0,
    "total_variation": 0.5,
} | {f"alpha {a}": 1 / (1 - a) for a in ALPHAS if a < 1}

X = torch.linspace(-12, 12, 20_001, dtype=torch.float64)


def normal(mean: float, sd: float) -> Tensor:
    return torch.exp(-0.5 * ((X - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


def integral(values: Tensor) -> float:
    return float(torch.trapezoid(values, X))


P, Q = normal(0.5, 1.0), normal(0.0, 1.1)  # the tails of chi-squared are finite both ways
U = P / Q


def fgan(name: str, **more) -> FGAN:
    kind, _, alpha = name.partition(" ")
    return FGAN(kind, float(alpha), **more) if alpha else FGAN(kind, **more)


def derivative(name: str, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_(True)
    return torch.autograd.grad(F[name](u).sum(), u)[0]


def logit_of(name: str, wanted: Tensor) -> Tensor:
    """The a with g_f(a) = wanted, by bisection: g_f increases."""
    low, high = torch.full_like(wanted, -1e18), torch.full_like(wanted, 300.0)
    for _ in range(120):
        middle = (low + high) / 2
        below = fgan(name).bound.output(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def test_every_divergence_is_tried():
    assert set(F_DIVERGENCES) == set(BOUNDS)


@pytest.mark.parametrize("name", F)
def test_at_the_optimal_output_the_bound_is_the_divergence(name):
    """Ibid., equations 4 and 5: T* = f'(p/q) makes E_p T - E_q f*(T) equal D_f(p || q)."""
    bound = fgan(name).bound
    a = 40 * (U - 1).sign() if name == "total_variation" else logit_of(name, derivative(name, U))
    found = integral(P * bound.output(a)) - integral(Q * bound.conjugate(a))
    assert found == pytest.approx(integral(Q * F[name](U)), abs=1e-6)
    for wrong in (a + 0.3, a - 0.3, 0.7 * a):  # any other D says less
        assert integral(P * bound.output(wrong)) - integral(Q * bound.conjugate(wrong)) <= found + 1e-9


def test_quadrature_knows_the_closed_forms():
    """Of two Gaussians with means 0.5 and 0 and deviation 1: KL = 1/8 both ways, chi2 = e^(1/4) - 1, ..."""
    p, q = normal(0.5, 1.0), normal(0.0, 1.0)
    for name, known in {
        "kl": 0.125,
        "reverse_kl": 0.125,
        "pearson_chi2": math.expm1(0.25),
        "neyman_chi2": math.expm1(0.25),
        "squared_hellinger": -2 * math.expm1(-0.25 / 8),
        "total_variation": math.erf(0.25 / math.sqrt(2)),
        "alpha 2.0": math.expm1(0.25) / 2,
    }.items():
        assert integral(q * F[name](p / q)) == pytest.approx(known, abs=1e-7), name


@pytest.mark.parametrize("name", F)
def test_the_output_stays_in_the_domain_of_the_conjugate(name):
    a = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    output = fgan(name).bound.output(a)
    assert (output.diff() >= 0).all() and torch.isfinite(output).all()
    if name == "total_variation":
        assert (output.abs() <= 0.5).all()  # tanh(30) is 1 to the last digit, and the domain is closed
    elif name in TOP:
        assert (output < TOP[name]).all()


@pytest.mark.parametrize("name", F)
def test_the_conjugate_is_the_legendre_transform(name):
    """f*(t) = sup_u (u t - f(u)), u over a fine logarithmic grid."""
    a = torch.linspace(-1.9, 2.5, 89, dtype=torch.float64)  # of Pearson's, table 6 has f* where t > -2, at u > 0
    bound = fgan(name).bound
    t, u = bound.output(a), torch.logspace(-7, 7, 40_001, dtype=torch.float64)
    transform = (t[:, None] * u - F[name](u)).amax(dim=1)
    assert torch.allclose(bound.conjugate(a), transform, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [2.0, 3.0])
def test_the_conjugate_of_alpha_above_one_ends_flat(alpha):
    """Where t is below f'(0) = -1/(alpha-1), u = 0 is best: f*(t) = -f(0) = -1/alpha."""
    a = torch.tensor([-1 / (alpha - 1), -5.0, -30.0], dtype=torch.float64)
    assert torch.allclose(alpha_bound(alpha).conjugate(a), torch.full_like(a, -1 / alpha))


NAIVE = {  # f*(t) as table 6 has it
    "kl": lambda t: torch.exp(t - 1),
    "reverse_kl": lambda t: -1 - torch.log(-t),
    "pearson_chi2": lambda t: t**2 / 4 + t,
    "neyman_chi2": lambda t: 2 - 2 * torch.sqrt(1 - t),
    "squared_hellinger": lambda t: t / (1 - t),
    "jensen_shannon": lambda t: -torch.log(2 - torch.exp(t)),
    "gan": lambda t: -torch.log(1 - torch.exp(t)),
    "total_variation": lambda t: t,
} | {f"alpha {a}": lambda t, a=a: (t * (a - 1) + 1) ** (a / (a - 1)) / a - 1 / a for a in ALPHAS}


@pytest.mark.parametrize("name", F)
def test_the_conjugate_is_that_of_the_table(name):
    bound = fgan(name).bound
    lowest = -0.45 if name.startswith("alpha") else -8.0  # above, (..)^(3/2) of the table is real
    a = torch.linspace(lowest, 8, 401, dtype=torch.float64)
    assert torch.allclose(bound.conjugate(a), NAIVE[name](bound.output(a)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [*F, "alpha 0.9", "alpha 0.999", "alpha 1.01", "alpha 30", "alpha -30"])
def test_float32_is_enough_far_out(name):
    """Losses and gradients are finite for a in [-30, 30], and equal float64 wherever float32 reaches so far."""
    objective, sides = fgan(name, generator="theory"), []
    for dtype in (torch.float32, torch.float64):
        a = torch.linspace(-30, 30, 241, dtype=dtype, requires_grad=True)
        for value in (objective.bound.output(a), objective.bound.conjugate(a)):
            (slope,) = torch.autograd.grad(value.sum(), a, retain_graph=True)
            assert torch.isfinite(value).all() and torch.isfinite(slope).all()
            assert torch.isfinite(value.mean())
            assert (slope[a > -2] >= 0).all()  # below, Pearson's parabola t^2 / 4 + t falls
            sides.append((value.detach().double(), slope.double()))
    for (low, low_slope), (high, high_slope) in zip(sides[:2], sides[2:], strict=True):
        assert torch.allclose(low, high, rtol=1e-4, atol=1e-5)
        assert torch.allclose(low_slope, high_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", F)
def test_the_threshold_is_where_p_equals_q(name):
    """Ibid., section 3.1: D says "real" where T > f'(1); there f*(f'(1)) = f'(1) - f(1)."""
    objective, one = fgan(name), torch.ones(1, dtype=torch.float64)
    at = torch.tensor([objective.threshold], dtype=torch.float64)
    wanted = torch.zeros(1, dtype=torch.float64) if name == "total_variation" else derivative(name, one)
    assert torch.allclose(objective.bound.output(at), wanted, atol=1e-12)
    assert torch.allclose(objective.bound.conjugate(at), wanted - F[name](one), atol=1e-12)
    real = torch.full((3,), objective.threshold, dtype=torch.float64)
    assert float(objective.estimate(turn(real, real), verdict(real), verdict(real))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", F)
def test_the_losses_are_the_bound(name):
    """G lowers what D raises, or E T with the sign turned (ibid., section 3.2)."""
    real, fake = torch.tensor([0.3, -1.2, 2.0]).double(), torch.tensor([-0.4, 0.1, 1.5]).double()
    theory, heuristic = fgan(name, generator="theory"), fgan(name, generator="heuristic")
    output, conjugate = theory.bound.output, theory.bound.conjugate
    of_d = theory.d_loss(turn(real, fake), verdict(real), verdict(fake))
    assert float(of_d) == pytest.approx(float(conjugate(fake).mean() - output(real).mean()), abs=1e-14)
    assert float(theory.g_loss(turn(real, fake), verdict(fake))) == pytest.approx(-float(conjugate(fake).mean()))
    assert float(heuristic.g_loss(turn(real, fake), verdict(fake))) == pytest.approx(-float(output(fake).mean()))


def test_alpha_has_the_named_divergences_as_limits():
    """2 alpha(2) = Pearson's, 2 alpha(-1) = Neyman's, alpha(1/2) / 2 = Hellinger's; near 1 and 0, KL both ways."""
    assert torch.allclose(2 * F["alpha 2.0"](U), F["pearson_chi2"](U))
    assert torch.allclose(2 * F["alpha -1.0"](U), F["neyman_chi2"](U))
    assert torch.allclose(F["alpha 0.5"](U) / 2, F["squared_hellinger"](U))
    a = torch.linspace(-3, 3, 61, dtype=torch.float64)
    near = alpha_bound(1 + 1e-7)
    assert torch.allclose(near.conjugate(a), torch.expm1(a), rtol=1e-5)  # of u log u - (u - 1)


@pytest.mark.parametrize("alpha, other", [(0.0, "reverse_kl"), (1.0, "kl")])
def test_limits_of_alpha_are_refused_by_name(alpha, other):
    assert f"divergence={other}" in refusal(FGAN, "alpha", alpha)
    assert FGAN("kl", alpha).threshold == 1.0
