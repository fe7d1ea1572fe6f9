"""Moment matching: the estimates against closed forms and double loops, in float64, and who learns what from them."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.config.build import Builder
from gantool.game.game import Game
from gantool.game.networks import Identity
from gantool.game.types import Verdict
from gantool.game.updates import Alternating, Simultaneous, after_d, move
from gantool.objectives.mmd import MomentMatching
from gantool.objectives.mmd_gan import MMDGAN
from gantool.tricks.gradient_penalty import GradientPenalty
from gantool.tricks.weight_clipping import WeightClipping
from test_resume import compare
from toys import composed_game, pictures, plain, players, points, refusal, same, turn, weights

BANDWIDTHS = [0.5, 1.0, 3.0]
fixed = partial(MomentMatching, BANDWIDTHS, relative=False)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_kernel(variance: float, shift: Tensor, bandwidths: list[float]) -> float:
    """E k(x, y) for x - y ~ N(shift, variance I).

    In one dimension E exp(-u^2 / 2 s^2), u ~ N(a, v), is the Gaussian integral
    s / sqrt(s^2 + v) exp(-a^2 / 2 (s^2 + v)).
    The dimensions of an isotropic Gaussian are independent, so they multiply; the kernel's terms add.
    """
    d, a2 = len(shift), float(shift.square().sum())
    return sum((s**2 / (s**2 + variance)) ** (d / 2) * math.exp(-a2 / (2 * (s**2 + variance))) for s in bandwidths)


def mmd_of_gaussians(shift: Tensor, p: float, q: float, bandwidths: list[float] = BANDWIDTHS) -> float:
    """MMD^2 of N(shift, p^2 I) and N(0, q^2 I): x - x' ~ N(0, 2 p^2 I), y - y' ~ N(0, 2 q^2 I), ..."""
    none = torch.zeros_like(shift)
    within = mean_kernel(2 * p**2, none, bandwidths) + mean_kernel(2 * q**2, none, bandwidths)
    return within - 2 * mean_kernel(p**2 + q**2, shift, bandwidths)


def by_loops(x: Tensor, y: Tensor, bandwidths: list[float], unbiased: bool, together=lambda a, i, b, j: 1) -> float:
    """Gretton et al. 2012, equations 3 and 5, pair by pair."""

    def k(a: Tensor, i: int, b: Tensor, j: int) -> float:
        square = float((a[i] - b[j]).square().sum())
        return together(a, i, b, j) * sum(math.exp(-square / (2 * s**2)) for s in bandwidths)

    def within(a: Tensor) -> float:
        n = len(a)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j or not unbiased]
        return sum(k(a, i, a, j) for i, j in pairs) / len(pairs)

    between = [k(x, i, y, j) for i in range(len(x)) for j in range(len(y))]
    return within(x) + within(y) - 2 * sum(between) / len(between)


# ---------------------------------------------------------------- the estimates


@pytest.mark.parametrize("dim", [1, 3, 10])
def test_unbiased_estimate_is_the_distance_of_two_gaussians(dim):
    """Mean of 1500 small batches, within four standard errors, which are a few per cent of the distance."""
    shift, objective = torch.linspace(0.5, 1, dim, dtype=torch.float64), fixed()
    real, fake = normal(1500, 12, dim) * 0.7 + shift, normal(1500, 9, dim, seed=1) * 1.2
    found = torch.stack([objective.distance(x, y) for x, y in zip(real, fake, strict=True)])
    error, known = float(found.std()) / 1500**0.5, mmd_of_gaussians(shift, 0.7, 1.2)
    assert error < 0.04 * known
    assert float(found.mean()) == pytest.approx(known, abs=4 * error)


@pytest.mark.parametrize("unbiased", [True, False])
def test_of_equal_distributions_the_biased_estimate_alone_is_positive(unbiased):
    """k(x, x) = the number of bandwidths stands in for E k(x, x') in 1/n of the pairs, among reals and among fakes."""
    n, objective = 8, fixed(unbiased=unbiased)
    draws = normal(3000, 2, n, 2)
    found = torch.stack([objective.distance(x, y) for x, y in draws])
    excess = 2 / n * (len(BANDWIDTHS) - mean_kernel(2, torch.zeros(2), BANDWIDTHS))
    error = float(found.std()) / 3000**0.5
    assert error < 0.02 * excess
    assert float(found.mean()) == pytest.approx(0 if unbiased else excess, abs=4 * error)
    assert (float(found.min()) < 0) == unbiased


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_estimates_are_the_double_sums(relative, unbiased):
    """`relative`: in units of the median of all 78 distances between two of 13 examples, as NumPy finds it."""
    x, y = normal(7, 4), 2 * normal(6, 4, seed=1) + 1
    both = torch.cat([x, y])
    distances = [float((both[i] - both[j]).norm()) for i in range(13) for j in range(i)]
    unit = float(np.sort(distances)[38]) if relative else 1.0  # the lower of the two in the middle
    found = MomentMatching(BANDWIDTHS, relative, unbiased).distance(x, y)
    assert found.shape == ()
    assert float(found) == pytest.approx(by_loops(x, y, [s * unit for s in BANDWIDTHS], unbiased), abs=1e-12)


@pytest.mark.parametrize("n, m", [(2, 4), (4, 3), (7, 8)])
def test_unit_is_the_median_distance(n, m):
    """An odd number of pairs, so that there is one in the middle."""
    x, y = normal(n, 3), normal(m, 3, seed=1) + 2
    both = torch.cat([x, y]).numpy()
    distances = [np.linalg.norm(a - b) for i, a in enumerate(both) for b in both[:i]]
    squares = [torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y))]
    assert float(MomentMatching().unit(*squares)) == pytest.approx(np.median(distances) ** 2)


def test_relative_bandwidths_know_no_unit():
    x, y = normal(7, 4), normal(6, 4, seed=1) + 1
    relative, absolute = MomentMatching(BANDWIDTHS), fixed()
    assert torch.allclose(relative.distance(1e3 * x - 5, 1e3 * y - 5), relative.distance(x, y))
    assert float(absolute.distance(10 * x, 10 * y)) != pytest.approx(float(absolute.distance(x, y)), rel=0.1)
    wider = MomentMatching([10 * s for s in BANDWIDTHS], relative=False)
    assert torch.allclose(wider.distance(10 * x, 10 * y), absolute.distance(x, y))


@pytest.mark.parametrize("relative", [True, False])
def test_data_and_samples_may_change_places(relative):
    x, y = normal(7, 4), normal(6, 4, seed=1) + 1
    objective = MomentMatching(BANDWIDTHS, relative)
    assert torch.allclose(objective.distance(x, y), objective.distance(y, x), rtol=1e-12)


def test_the_median_does_not_learn():
    """It is a unit, not something to be gained by G: the slope is that of the kernel with this bandwidth, fixed."""
    x, y = normal(7, 4), (normal(6, 4, seed=1) + 1).requires_grad_(True)
    objective = MomentMatching([1.0])
    squares = [torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y))]
    frozen = MomentMatching([float(objective.unit(*squares)) ** 0.5], relative=False)
    slopes = [torch.autograd.grad(each.distance(x, y), y)[0] for each in (objective, frozen)]
    assert torch.allclose(*slopes, rtol=1e-9)


@pytest.mark.parametrize("dim, middle, spread", [(784, -0.8, 0.2), (2, 1000.0, 0.01), (2, 0.0, 1e-4)])
def test_float32_is_enough(dim, middle, spread):
    """Images that are dark nearly everywhere, points far from 0, and tiny distances: three digits of the distance."""
    x, y = ((middle + spread * (normal(20, dim, seed=i) + 0.5 * i)).float() for i in (0, 1))
    exact = float(MomentMatching().distance(x.double(), y.double()))
    assert float(MomentMatching().distance(x, y)) == pytest.approx(exact, rel=1e-3)
    loops = by_loops(x.double(), y.double(), [spread * dim**0.5], unbiased=True)
    found = MomentMatching([spread * dim**0.5], relative=False).distance(x, y)
    assert float(found) == pytest.approx(loops, rel=1e-3)


def test_equal_examples_are_no_trouble():
    x = torch.full((4, 3), 0.3, requires_grad=True)
    distance = MomentMatching().distance(x.detach(), x)
    assert float(distance.detach()) == pytest.approx(0, abs=1e-6)
    assert bool(torch.isfinite(torch.autograd.grad(distance, x)[0]).all())


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("unbiased", [True, False])
def test_class_by_class(unbiased):
    """Two classes are as far apart as can be: the kernel of a pair counts only within a class."""
    x, y = normal(7, 4), normal(6, 4, seed=1) + 1
    of = {id(x): [0, 1, 2, 0, 1, 2, 0], id(y): [0, 0, 1, 1, 2, 2]}
    one_hot = [torch.eye(3, dtype=torch.float64)[of[id(each)]] for each in (x, y)]
    found = fixed(unbiased=unbiased).distance(x, y, *one_hot)
    known = by_loops(x, y, BANDWIDTHS, unbiased, lambda a, i, b, j: of[id(a)][i] == of[id(b)][j])
    assert float(found) == pytest.approx(known, abs=1e-12)
    assert torch.equal(fixed().distance(x, y, torch.ones(7, 1), torch.ones(6, 1)), fixed().distance(x, y))


@pytest.mark.parametrize("kind", ["points", "images"])
def test_class_counts_where_g_is_told_it_and_only_there(compose, kind):
    images = points(10, classes=2) if kind == "points" else pictures(10)
    for told in (True, False):
        game = composed_game(
            compose, "objective=mmd", f"architecture.class_conditional={str(told).lower()}", images=images
        )
        seen = torch.randn(4, *images.shape)
        real, fake = (game.nets["discriminator"](seen, torch.tensor(label)) for label in ([0, 0, 1, 1], [1, 1, 0, 0]))
        assert torch.equal(real.logits, seen.flatten(1))
        given = turn(seen, seen, lambda image, label, real=real: real)
        right, swapped = game.objective.g_loss(given, real), game.objective.g_loss(given, fake)
        assert (float(swapped) > float(right) + 0.1) == told
        assert torch.equal(swapped, right) == (not told)


# ---------------------------------------------------------------- the learned kernel


class Embedding(nn.Module):
    """h(v) = A v."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        return Verdict(image @ self.matrix.T, image)


def witness(objective: MMDGAN, embedding: Embedding, real: Tensor, fake: Tensor):
    """The turn of a game whose score is the objective's."""
    given = turn(real, fake, embedding)
    return turn(real, fake, embedding, score=lambda image, label: objective.score(given, image, label))


def test_slope_of_the_witness_by_hand():
    """d/dv of mean_j sum_s exp(-|A v - A x_j|^2 / 2 s^2) is -mean_j sum_s k_s(v, x_j) / s^2 A'A (v - x_j)."""
    a, real, fake, v = normal(2, 3), normal(5, 3, seed=1), normal(4, 3, seed=2) + 1, normal(6, 3, seed=3)
    v.requires_grad_(True)
    given = witness(MMDGAN(2, BANDWIDTHS), Embedding(a), real, fake)
    score = given.score(v, given.label)
    (slope,) = torch.autograd.grad(score.sum(), v)
    for i, at in enumerate(v.detach()):
        value, by_hand = 0.0, torch.zeros(3, dtype=torch.float64)
        for sign, side in ((1, real), (-1, fake)):
            for other in side:
                away = at - other
                for s in BANDWIDTHS:
                    k = sign / len(side) * math.exp(-float((a @ away).square().sum()) / (2 * s**2))
                    value, by_hand = value + k, by_hand - k / s**2 * (a.T @ a @ away)
        assert float(score[i].detach()) == pytest.approx(value, abs=1e-12)
        assert torch.allclose(slope[i], by_hand, atol=1e-12)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("kind", ["wgan_gp", "r1", "r2"])
def test_a_penalty_on_the_witness_teaches_d(kind, relative):
    """Its slope by the embedding's weights (through the slope of the witness) is that of finite differences.

    The median stands still meanwhile, as it does for G.
    """
    real, fake, embedding = normal(5, 3, seed=1), normal(5, 3, seed=2) + 1, Embedding(normal(2, 3))
    objective, trick = MMDGAN(2, BANDWIDTHS, relative), GradientPenalty(kind, 1.0)
    with torch.no_grad():
        squares = [torch.cdist(a @ embedding.matrix.T, b @ embedding.matrix.T).square()
                   for a, b in ((real, real), (fake, fake), (real, fake))]  # fmt: skip
        unit = objective.unit(*squares)
    objective.unit = lambda *squares: unit

    def penalty() -> Tensor:
        torch.manual_seed(0)
        given = witness(objective, embedding, real, fake)
        return trick.d_penalty(given, *(embedding(each, given.label) for each in (real, fake)))

    (found,) = torch.autograd.grad(penalty(), embedding.matrix)
    step = 1e-5
    for index in np.ndindex(2, 3):
        ends = []
        for sign in (1, -1):
            embedding.matrix.data[index] += sign * step
            ends.append(float(penalty().detach()))
            embedding.matrix.data[index] -= sign * step
        assert float(found[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-8)


class TwoGaussians(nn.Module):
    """Reals N(at, sd); latents N(0, 1), in so many dimensions."""

    num_classes, batch_size = 0, 256

    def __init__(self, at: float, sd: float, dim: int = 1):
        super().__init__()
        self.at, self.sd, self.dim = at, sd, dim

    def reals(self) -> tuple[Tensor, Tensor]:
        return self.at + self.sd * torch.randn(self.batch_size, self.dim), torch.full((self.batch_size,), -1)

    def latents(self) -> tuple[Tensor, Tensor]:
        return torch.randn(self.batch_size, self.dim), torch.full((self.batch_size,), -1)


class LocationScale(nn.Module):
    """G(z) = at + sd z."""

    def __init__(self):
        super().__init__()
        self.at, self.sd = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(1.0))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.at + self.sd * latent


class Small(nn.Module):
    """An embedding with one hidden layer."""

    def __init__(self, dimensions: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.2), nn.Linear(16, dimensions))

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        return Verdict(self.body(image), image)


@pytest.mark.parametrize(
    "trick", [GradientPenalty(weight=1.0), WeightClipping(0.5)], ids=lambda trick: type(trick).__name__
)
def test_d_alone_finds_a_kernel_that_tells_more(trick):
    """N(0.5, 0.3) and N(0, 1): D's MMD^2 exceeds the same kernel's on the numbers themselves, known by formula."""
    torch.manual_seed(0)
    objective, source = MMDGAN(4), TwoGaussians(0.5, 0.3)
    source.batch_size = 64
    game = Game(LocationScale(), Small(4), objective, {"trick": trick}, source)
    d, _ = players(game, 0.01, torch.optim.Adam)
    for _ in range(100):
        move(game, d, d.grads(game.d_loss()[0]))
        after_d(game)
    source.batch_size = 1024
    stats = game.d_loss()[1]
    fixed_kernel = mmd_of_gaussians(torch.tensor([0.5]), 0.3, 1.0, objective.bandwidths)
    assert float(stats["divergence"]) == pytest.approx(-float(stats["d_loss"]))
    assert not stats["divergence"].requires_grad
    assert float(stats["divergence"]) > 1.5 * fixed_kernel


# ---------------------------------------------------------------- G without a D

UPDATES = [Alternating(), Alternating(2, 3), Simultaneous()]
OPTIMIZERS = [torch.optim.Adam, torch.optim.RMSprop, partial(torch.optim.SGD, momentum=0.9)]


@pytest.mark.parametrize("unbiased", [True, False])
def test_g_alone_reaches_the_moments(unbiased):
    """The column `divergence` starts at the closed form's MMD^2 and ends at its noise."""
    torch.manual_seed(0)
    source = TwoGaussians(2.0, 0.5)
    game = Game(LocationScale(), Identity((1,)), fixed(unbiased=unbiased), {}, source)
    d, g = players(game, 0.03, torch.optim.Adam)
    first = Alternating()(game, d, g)
    assert float(first["divergence"]) == pytest.approx(mmd_of_gaussians(torch.tensor([2.0]), 0.5, 1.0), rel=0.1)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(g.optimizer, 200)
    for _ in range(200):
        last = Alternating()(game, d, g)
        rates.step()
    at, sd = weights(game.nets["generator"])
    assert float(at) == pytest.approx(2.0, abs=0.05)
    assert abs(float(sd)) == pytest.approx(0.5, abs=0.05)
    assert float(last["divergence"]) < 0.05


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("update", UPDATES, ids=["1:1", "2:3", "at once"])
def test_only_g_moves(compose, update, optimizer, scheduled):
    """D has nothing to move, is shown nothing, and its player goes on counting rounds."""
    overrides = [f"optimizer.{player}.schedule.kind=linear" for player in ("generator", "discriminator")] * scheduled
    name = optimizer.__name__.lower() if hasattr(optimizer, "__name__") else "sgd"
    overrides += [f"optimizer={name}", "objective=mmd", "trick=[ema]", "architecture.generator.hidden=[8]"]
    game = composed_game(compose, *overrides)
    d, g = Builder((), 100).players(game, plain(compose(*overrides))["optimizer"])
    before, drawn = weights(game.nets["generator"]), 0
    game.source.reserve(12)
    for _ in range(3):
        game.source.prepare(update.real_batches(game))
        stats = update(game, d, g)
        drawn += update.real_batches(game)
    assert int(game.source.drawn) == drawn * game.source.batch_size
    assert weights(game.nets["discriminator"]) == []
    assert not any(same([a], [b]) for a, b in zip(before, weights(game.nets["generator"]), strict=True))
    assert {"g_loss", "g_grad_norm", "divergence"} == set(stats)
    assert (int(d.clock.now), int(g.clock.now)) == (3, 3)


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize("trick", ["gradient_penalty", "weight_clipping", "spectral_norm", "label_smoothing"])
def test_tricks_on_a_d_that_is_not_there_are_refused_by_name(compose, trick):
    said = refusal(composed_game, compose, "objective=mmd", f"trick=[{trick}]")
    assert f"trick.{trick} " in said and "objective mmd" in said and "drop it" in said


def test_refusals(compose):
    assert "objective mmd_gan needs a critic of bounded slope" in refusal(
        composed_game, compose, "objective=mmd_gan", "trick.gradient_penalty.weight=0"
    )
    for objective in ("mmd", "mmd_gan"):
        assert "batch_size=2" in refusal(composed_game, compose, f"objective={objective}", "batch_size=1")
        assert "bandwidths" in refusal(composed_game, compose, f"objective={objective}", "objective.bandwidths=[]")
        assert "projection" in refusal(
            composed_game, compose, f"objective={objective}",
            "architecture.class_conditional=true", "architecture.projection=true",
        )  # fmt: skip


@pytest.mark.parametrize("objective, told", [("mmd", True), ("mmd_gan", False)])
def test_a_run_resumes_bit_for_bit_and_samples(gantool: Gantool, objective, told):
    run = [f"objective={objective}", f"architecture.class_conditional={told}", "trick=[ema]", "batch_size=16"]
    run += ["architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "tick_every=3", "logger=[]"]
    assert gantool("train", *run, "steps=12", "hydra.run.dir=whole").code == 0
    assert gantool("train", *run, "steps=6", "hydra.run.dir=broken").code == 0
    assert gantool("train", "resume=broken", "steps=12").code == 0
    compare(*(torch.load(f"{name}/checkpoints/step_00000012.pt", weights_only=True) for name in ("whole", "broken")))
    assert gantool("sample", "run=broken", "n=4", "out=grid.png").code == 0
    assert Path("grid.png").stat().st_size > 0
