"""What each trick does, against a computation that does not use it."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.hooks import Trick
from gantool.game.schedules import Schedule
from gantool.game.updates import Alternating, after_d, after_g
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.ema import EMA
from gantool.tricks.gradient_penalty import GradientPenalty
from gantool.tricks.instance_noise import InstanceNoise
from gantool.tricks.label_smoothing import LabelSmoothing
from gantool.tricks.spectral_norm import SpectralNorm
from gantool.tricks.weight_clipping import WeightClipping
from toys import Fixed, Linear, Scalar, players, turn, verdict, weights

KINDS = ["wgan_gp", "dragan", "r1", "r2"]
N = 16


def nets(generator: nn.Module, discriminator: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"generator": generator, "discriminator": discriminator})


def examples(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(image: Tensor, label: Tensor):
    """D(v) = |v|^2 / 2, whose slope at v is |v|."""
    return verdict(image.flatten(1).square().sum(dim=1) / 2)


def penalty(trick: GradientPenalty, real: Tensor, fake: Tensor, critic) -> Tensor:
    seen = turn(real, fake, critic)
    return trick.d_penalty(seen, critic(real, seen.label), critic(fake, seen.fake_label))


# ---------------------------------------------------------------- gradient penalty


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
    torch.manual_seed(3)
    found = penalty(GradientPenalty(kind, 2.0), real, fake, quadratic)
    torch.manual_seed(3)
    noisy = real + torch.rand_like(real) * real.std() / 2
    expected = {
        "wgan_gp": 2 * (real_slope - 1).square().mean(),
        "dragan": 2 * (noisy.flatten(1).square().sum(dim=1).sqrt() - 1).square().mean(),
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
    noise = spied(GradientPenalty("dragan"), real, fake)[0] - real
    assert 0 <= noise.min() < 0.05 * real.std()
    assert 0.45 * real.std() < noise.max() <= 0.5001 * real.std()


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


# ---------------------------------------------------------------- spectral norm


def layered() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.Flatten(), nn.Linear(4 * 256, 5)
    )


def largest(layer: nn.Module) -> float:
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    return float(torch.linalg.svdvals(weight.detach().flatten(1))[0])


@pytest.mark.parametrize("player", ["discriminator", "generator", "both"])
def test_spectral_norm_makes_the_largest_singular_value_one(player):
    game = nets(layered(), layered())
    for net in game.values():
        for layer in (net[0], net[2], net[4]):
            layer.weight.data *= 5
    SpectralNorm(player).rewrite(game, Fixed(torch.zeros(4, 1)))
    for name, net in game.items():
        for _ in range(60):
            net(torch.randn(2, 3, 8, 8))
        normed = player in (name, "both")
        for layer in (net[0], net[2], net[4]):
            assert (abs(largest(layer) - 1) < 1e-2) == normed
    assert SpectralNorm(player).lipschitz == (player != "generator")


def test_spectral_norm_bounds_the_slope_of_a_critic():
    """A leaky critic of three normed layers rises by at most 1 a unit."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    for parameter in critic.parameters():
        parameter.data *= 10
    v = torch.randn(500, 3, requires_grad=True)

    def steepest() -> float:
        return float(torch.autograd.grad(critic(v).sum(), v)[0].norm(dim=1).max())

    assert steepest() > 10
    SpectralNorm().rewrite(nets(nn.Identity(), critic), Fixed(torch.zeros(4, 1)))
    for _ in range(30):
        critic(v)
    assert steepest() < 1.01


# ---------------------------------------------------------------- weight clipping


def test_clipping_clamps_d_and_leaves_g_alone():
    d, g = Linear(torch.tensor([-1.0, -0.005, 0.0, 0.005, 1.0])), Scalar(3.0)
    WeightClipping(0.01).after_d(nets(g, d).requires_grad_(False))
    assert torch.equal(d.weight, torch.tensor([-0.01, -0.005, 0.0, 0.005, 0.01]))
    assert float(g.x) == 3.0


def test_clipping_acts_after_every_step_of_d():
    """A step of size 1 leaves [-c, c]; it is back before D's next step and before G's turn."""
    critic, largest_seen = Linear(torch.tensor([0.0])), []

    class Watch(Trick):
        def view(self, image: Tensor) -> Tensor:
            largest_seen.append(float(critic.weight.abs().max()))
            return image

    tricks = {"weight_clipping": WeightClipping(0.01), "watch": Watch()}
    game = Game(Scalar(2.0), critic, LeastSquares(), tricks, Fixed(torch.ones(4, 1)))
    Alternating(3)(game, *players(game, lr=1.0))
    assert largest_seen[0] == 0
    assert max(largest_seen) == pytest.approx(0.01)


# ---------------------------------------------------------------- instance noise


def test_noise_has_its_standard_deviation_on_reals_and_fakes():
    torch.manual_seed(0)
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, image: Tensor, label: Tensor):
            seen.append(image.detach())
            return verdict(image.sum(dim=1))

    game = Game(Scalar(2.0), Spy(), Minimax(), {"noise": InstanceNoise(0.3)}, Fixed(torch.full((20_000, 1), 5.0)))
    game.d_loss()
    game.g_loss()
    for images, value in zip(seen, (5.0, 2.0, 2.0), strict=True):
        assert float(images.mean()) == pytest.approx(value, abs=0.01)
        assert float(images.std()) == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize("kind, middle", [("linear", 0.5), ("cosine", 0.5)])
def test_noise_is_annealed_to_exactly_nothing(kind, middle):
    torch.manual_seed(0)
    trick, image = InstanceNoise(0.4, Schedule(100, kind)), torch.zeros(20_000, 1)
    assert float(trick.view(image).std()) == pytest.approx(0.4, rel=0.03)
    for _ in range(50):
        trick.after_g(nn.ModuleDict())
    assert float(trick.view(image).std()) == pytest.approx(0.4 * middle, rel=0.03)
    for _ in range(50):
        trick.after_g(nn.ModuleDict())
    assert torch.equal(trick.view(image), image)


def test_noise_lets_gradients_through():
    image = torch.zeros(4, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(InstanceNoise(0.5).view(image).sum(), image)
    assert torch.equal(slope, torch.ones(4, 2))


# ---------------------------------------------------------------- EMA


def averaged(trick: EMA, generator: nn.Module, batch_size: int) -> nn.ModuleDict:
    game = nets(generator, nn.Identity())
    trick.rewrite(game, Fixed(torch.zeros(batch_size, 1)))
    trick.ready(game)
    return game


@torch.no_grad()
def test_ema_is_the_closed_form():
    """After n steps: sum over t of share (1 - share)^(n - t) w_t, plus (1 - share)^n w_0."""
    generator, trick = Scalar(1.0), EMA(half_life=50, ramp_up=0)
    game = averaged(trick, generator, batch_size=8)
    path = [1.0, 3.0, -2.0, 0.5, 4.0, 4.0, -1.0]
    for x in path[1:]:
        generator.x.fill_(x)
        trick.after_g(game)
    keep, n = 0.5 ** (8 / 50), len(path) - 1
    expected = keep**n * path[0] + sum((1 - keep) * keep ** (n - t) * path[t] for t in range(1, n + 1))
    assert float(trick.average.x) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 10, 64, 500])
@torch.no_grad()
def test_ema_half_life_is_in_images(batch_size):
    """From 0 towards 1, half the way after 1,000 images and three quarters after 2,000, whatever the batch size."""
    generator, trick = Scalar(0.0), EMA(half_life=1000, ramp_up=0)
    game = averaged(trick, generator, batch_size)
    generator.x.fill_(1.0)
    for step in range(1, -(-2000 // batch_size) + 1):
        trick.after_g(game)
        assert float(trick.average.x) == pytest.approx(1 - 0.5 ** (step * batch_size / 1000), abs=1e-4)


@torch.no_grad()
def test_ema_ramp_up_shortens_the_half_life_while_few_images_were_seen():
    """The half-life after B t images is min(half_life, ramp_up B t) (Karras et al. 2020b)."""
    generator, trick = Scalar(0.0), EMA(half_life=100, ramp_up=0.5)
    game = averaged(trick, generator, batch_size=10)
    generator.x.fill_(1.0)
    left = 1.0
    for t in range(1, 60):
        trick.after_g(game)
        left *= 0.5 ** (10 / min(100, 0.5 * 10 * t))
        assert float(trick.average.x) == pytest.approx(1 - left, abs=1e-6)


def test_ema_share_is_exact_where_it_is_tiny():
    """Batches of one and a half-life of 10 million: 1 - 2^-x would lose all its digits in float32."""
    trick = EMA(half_life=1e7, ramp_up=0)
    averaged(trick, Scalar(0.0), batch_size=1)
    assert float(trick.share()) == pytest.approx(math.log(2) / 1e7, rel=1e-5)


@torch.no_grad()
def test_ema_copies_buffers_and_averages_nothing_else():
    generator = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    trick = EMA(half_life=1000, ramp_up=0)
    game = averaged(trick, generator, batch_size=4)
    generator(5 + 2 * torch.randn(4, 2))
    trick.after_g(game)
    assert not torch.equal(generator[1].running_mean, torch.zeros(3))
    for name, buffer in generator.named_buffers():
        assert torch.equal(dict(trick.average.named_buffers())[name], buffer), name


def test_ema_is_what_is_deployed_and_nobody_trains_it():
    game = Game(Scalar(2.0), Linear(torch.ones(1)), NonSaturating(), {"ema": EMA(ramp_up=0)}, Fixed(torch.ones(4, 1)))
    average = game.tricks["ema"].average
    assert game.deployed is average
    assert not any(parameter.requires_grad for parameter in average.parameters())
    d, g = players(game, lr=1.0)
    Alternating()(game, d, g)
    moved, followed = float(game.nets["generator"].x) - 2, float(average.x) - 2
    assert abs(moved) > 0.1
    assert followed == pytest.approx(moved * (1 - 0.5 ** (4 / 10_000)), rel=1e-2)


def test_ema_sees_the_surgery_of_later_tricks():
    """Copies are made only when all surgery is done, whatever the order of the tricks."""
    body = nn.Sequential(nn.Linear(1, 1))
    tricks = {"ema": EMA(), "spectral_norm": SpectralNorm("generator")}
    game = Game(body, Linear(torch.ones(1)), NonSaturating(), tricks, Fixed(torch.ones(4, 1)))
    live, kept = game.nets["generator"].state_dict(), game.tricks["ema"].average.state_dict()
    assert set(live) == set(kept)
    assert any("original" in name for name in kept)
    with torch.no_grad():
        after_g(game)


# ---------------------------------------------------------------- label smoothing


def test_smoothing_is_one_sided():
    real, fake = LabelSmoothing(0.9).targets(torch.ones(5), torch.zeros(5))
    assert torch.equal(real, torch.full((5,), 0.9))
    assert torch.equal(fake, torch.zeros(5))
    real, fake = LabelSmoothing(0.8, 0.1).targets(torch.ones(5), torch.zeros(5))
    assert torch.allclose(real, torch.full((5,), 0.8))
    assert torch.allclose(fake, torch.full((5,), 0.1))


def test_smoothing_of_fakes_warns(caplog):
    with caplog.at_level(logging.WARNING):
        LabelSmoothing(0.9)
        assert not caplog.records
        LabelSmoothing(0.9, 0.1)
    assert ["label_smoothing.fake=0.1" in record.getMessage() for record in caplog.records] == [True]


def test_smoothing_changes_d_and_not_g():
    """D says 0 of all: its loss has no term in the target there. At D = 2: softplus(2) - 2 real + softplus(2)."""

    def losses(tricks: dict[str, Trick]) -> tuple[float, float]:
        game = Game(Scalar(1.0), Linear(torch.tensor([2.0])), NonSaturating(), tricks, Fixed(torch.ones(4, 1)))
        return float(game.d_loss()[0]), float(game.g_loss()[0])

    softplus = math.log1p(math.exp(2))
    assert losses({}) == pytest.approx((2 * softplus - 2, softplus - 2), rel=1e-6)
    assert losses({"label_smoothing": LabelSmoothing(0.9)}) == pytest.approx(
        (2 * softplus - 1.8, softplus - 2), rel=1e-6
    )


# ---------------------------------------------------------------- all of them


def test_a_trick_without_hooks_changes_nothing():
    """The hooks are no-ops: a game with an empty trick takes the same steps, bit for bit."""

    def trained(tricks: dict[str, Trick]) -> list[Tensor]:
        torch.manual_seed(0)
        game = Game(Scalar(1.0), Linear(torch.tensor([0.5])), NonSaturating(), tricks, Fixed(torch.ones(4, 1)))
        d, g = players(game, lr=0.1)
        for _ in range(5):
            Alternating(2)(game, d, g)
            after_d(game)
        return weights(game.nets)

    bare, empty = trained({}), trained({"nothing": Trick()})
    assert all(torch.equal(a, b) for a, b in zip(bare, empty, strict=True))
    assert not torch.equal(bare[0], torch.tensor(1.0))
