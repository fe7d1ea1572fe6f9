"""Penalties on the slope of D, against critics whose slope is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.objectives.minimax import Minimax
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import Fixed, Linear, Scalar, composed_game, refusal, turn, verdict

KINDS = ["wgan_gp", "dragan", "r1", "r2"]
N = 16


def examples(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(image: Tensor, label: Tensor):
    """D(v) = |v|^2 / 2, whose slope at v is |v|."""
    return verdict(image.flatten(1).square().sum(dim=1) / 2)


def penalty(trick: GradientPenalty, real: Tensor, fake: Tensor, critic) -> Tensor:
    seen = turn(real, fake, critic)
    return trick.d_penalty(seen, critic(real, seen.label), critic(fake, seen.fake_label))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5,), (3, 4, 4)], ids=["points", "images"])
def test_penalty_on_a_linear_critic_is_closed_form(kind, shape):
    """The slope is |w| everywhere: weight (|w| - 1)^2, or weight / 2 |w|^2, whatever the examples."""
    w = torch.linspace(-1, 2, math.prod(shape), dtype=torch.float64)
    norm = float(w.square().sum()) ** 0.5
    expected = 10 * (norm - 1) ** 2 if kind in ("wgan_gp", "dragan") else 10 / 2 * norm**2
    found = penalty(GradientPenalty(kind, 10.0), examples(*shape), examples(*shape, seed=1), Linear(w))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_penalty_takes_each_example_by_itself(kind):
    """Trap: the norm over the batch. The slope at v is |v|, and examples of different norms are taken one by one."""
    real, fake = examples(2, 3, 3), 2 * examples(2, 3, 3, seed=1)
    fake = real if kind == "wgan_gp" else fake  # so that every interpolate is the example itself
    real_slope, fake_slope = (v.flatten(1).square().sum(dim=1).sqrt() for v in (real, fake))
    asked: list[Tensor] = []

    def spying(image: Tensor, label: Tensor):
        asked.append(image.detach())
        return quadratic(image, label)

    trick, seen = GradientPenalty(kind, 2.0), turn(real, fake, spying)
    found = trick.d_penalty(seen, verdict(real[:, 0, 0, 0]), verdict(fake[:, 0, 0, 0]))
    (point,) = asked
    expected = {
        "wgan_gp": 2 * (real_slope - 1).square().mean(),
        "dragan": 2 * sum((v.norm() - 1) ** 2 for v in point) / N,
        "r1": 2 / 2 * real_slope.square().mean(),
        "r2": 2 / 2 * fake_slope.square().mean(),
    }
    assert torch.allclose(found, expected[kind], rtol=1e-12)


def test_critic_of_slope_one_costs_nothing():
    """Over the batch, sixteen slopes of 1 have the norm 4, and would cost weight (4 - 1)^2 = 9 weights."""
    unit = nn.functional.normalize(examples(7), dim=1)
    found = penalty(GradientPenalty(weight=1.0), unit, unit, quadratic)
    assert float(found.detach()) == pytest.approx(0, abs=1e-20)


def spied(trick: GradientPenalty, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Where, and with which labels, the penalty asks D."""
    asked = []

    def critic(image, label):
        asked.append((image.detach(), label))
        return quadratic(image, label)

    seen = turn(real, fake, critic)
    trick.d_penalty(seen, verdict(real.flatten(1).sum(1)), verdict(fake.flatten(1).sum(1)))
    assert len(asked) == 1
    return asked[0]


def test_interpolation_factor_is_one_an_example():
    """Between reals of 1 and fakes of 0 the point is the factor: one number an example, uniform on [0, 1]."""
    torch.manual_seed(0)
    point, label = spied(GradientPenalty("wgan_gp"), torch.ones(2000, 2, 3, 3), torch.zeros(2000, 2, 3, 3))
    factor = point.flatten(1)
    assert torch.equal(factor, factor[:, :1].expand_as(factor))
    assert len(factor[:, 0].unique()) > 1900
    steps = torch.arange(1, 2001) / 2000
    assert (factor[:, 0].sort().values - steps).abs().max() < 0.04  # Kolmogorov-Smirnov, p < 0.003
    assert set(label.tolist()) == {7}


def test_penalty_asks_where_its_paper_says():
    torch.manual_seed(0)
    real, fake = torch.randn(N, 2, 3, 3), torch.randn(N, 2, 3, 3)
    assert torch.equal(spied(GradientPenalty("r1"), real, fake)[0], real)
    assert set(spied(GradientPenalty("r1"), real, fake)[1].tolist()) == {7}
    assert torch.equal(spied(GradientPenalty("r2"), real, fake)[0], fake)
    assert set(spied(GradientPenalty("r2"), real, fake)[1].tolist()) == {8}


def test_dragan_asks_along_the_way_to_a_perturbed_real():
    """As released (github.com/kodalinaveen3/DRAGAN): a step of alpha from X towards X + 0.5 * deviation * U(0, 1).

    In 500 numbers of an example the largest is alpha * deviation / 2 to within a few per cent, the others are uniform
    below it; over 2,000 examples alpha is uniform on [0, 1].
    """
    torch.manual_seed(0)
    real = torch.tensor([-3.0, 5.0]).repeat(2000, 250)  # of mean 1 and deviation 4
    point, label = spied(GradientPenalty("dragan"), real, real + 100)
    noise = (point - real) / 2
    alpha = noise.max(dim=1).values
    steps = torch.arange(1, 2001) / 2000
    assert noise.min() >= 0 and alpha.max() <= 1 + 1e-6
    assert (alpha.sort().values - steps).abs().max() < 0.04  # Kolmogorov-Smirnov, p < 0.003
    within = (noise / alpha[:, None]).flatten()[::97].sort().values
    assert (within - torch.arange(1, len(within) + 1) / len(within)).abs().max() < 0.02
    assert set(label.tolist()) == {7}


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 1)).double()

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(image))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_penalty_is_that_of_finite_differences(kind):
    """Trap: a penalty that carries no gradient to D's weights."""
    torch.manual_seed(0)
    critic, trick = Smooth(), GradientPenalty(kind, 3.0)
    real, fake = examples(3), examples(3, seed=1)

    def value() -> Tensor:
        torch.manual_seed(1)  # the same points each time
        return penalty(trick, real, fake, critic)

    exact = torch.autograd.grad(value(), critic.body[0].weight)[0]
    assert exact.abs().max() > 1e-3
    numeric = torch.zeros_like(exact)
    with torch.no_grad():
        flat = critic.body[0].weight.view(-1)
        for i in range(flat.numel()):
            for sign in (1, -1):
                flat[i] += sign * 1e-6
                with torch.enable_grad():
                    numeric.view(-1)[i] += sign * value().detach() / 2e-6
                flat[i] -= sign * 1e-6
    assert torch.allclose(exact, numeric, atol=1e-7)


def test_penalty_of_a_flat_critic_is_finite():
    """Slope 0 costs `weight`, and the derivative of its norm, which has none there, is not NaN."""
    critic = Linear(torch.zeros(3, dtype=torch.float64))
    found = penalty(GradientPenalty("wgan_gp", 10.0), examples(3), examples(3, seed=1), critic)
    assert float(found.detach()) == 10
    assert torch.isfinite(torch.autograd.grad(found, critic.weight)[0]).all()


def test_penalty_moves_d_only_through_its_loss():
    """In the game: D's loss is objective plus penalty, each logged by name; fakes pass no gradient to G."""
    game = Game(
        Scalar(2.0), Linear(torch.tensor([3.0])), Minimax(), {"gp": GradientPenalty("r1", 2.0)}, Fixed(torch.ones(N, 1))
    )
    loss, stats = game.d_loss()
    assert float(stats["d_gp"]) == pytest.approx(2 / 2 * 3**2)
    assert float(loss.detach()) == pytest.approx(float(stats["d_loss"] + stats["d_gp"]))
    assert torch.autograd.grad(loss, game.nets["generator"].x, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    "joined",
    [["architecture.discriminator.normalization=batch"], ["trick=[gradient_penalty,minibatch_stddev]"],
     ["trick=[minibatch_discrimination,gradient_penalty]"]],
)  # fmt: skip
def test_a_share_of_a_batch_is_refused_where_examples_meet(compose, joined):
    """Half a batch has other statistics than the whole: D would be another net there. By itself it is the same one."""
    half = ["trick=[gradient_penalty]", "trick.gradient_penalty.kind=r1", "trick.gradient_penalty.share=0.5"]
    said = refusal(composed_game, compose, half[0], *joined, *half[1:])
    assert "share=0.5 shows D a smaller batch" in said and "leave share out" in said
    assert composed_game(compose, half[0], *joined, half[1])
    assert composed_game(compose, *half, "architecture.discriminator.normalization=layer")
    alone = "trick=[gradient_penalty,spectral_norm,discriminator_noise]"
    assert composed_game(compose, alone, *half[1:]), "weights and noise are not of the batch"


@pytest.mark.parametrize(
    "kind, normed, warned", [("wgan_gp", True, True), ("wgan_gp", False, False), ("r1", True, False)]
)
def test_batch_norm_in_a_penalised_critic_is_warned_of(caplog, kind, normed, warned):
    """Gulrajani et al. 2017, section 4: no critic batch normalisation."""
    critic = nn.Sequential(nn.Linear(2, 3), *([nn.BatchNorm1d(3)] if normed else []))
    GradientPenalty(kind).rewrite(nn.ModuleDict({"discriminator": critic}), None)
    assert ("normalization=layer" in caplog.text) == warned
