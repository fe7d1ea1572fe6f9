"""What each trick does, against a computation that does not use it."""

import logging
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from gantool.commands.planning import check_use
from gantool.game.game import Game
from gantool.game.hooks import Trick
from gantool.game.schedules import Schedule
from gantool.game.updates import Alternating, after_d, after_g
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.ema import EMA
from gantool.tricks.instance_noise import InstanceNoise
from gantool.tricks.label_smoothing import LabelSmoothing
from gantool.tricks.minibatch_discrimination import Closeness
from gantool.tricks.spectral_norm import SpectralNorm
from gantool.tricks.weight_clipping import WeightClipping
from toys import Fixed, Linear, Scalar, composed_game, pictures, plain, players, refusal, verdict, weights


def nets(generator: nn.Module, discriminator: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"generator": generator, "discriminator": discriminator})


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


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "older", [nn.utils.spectral_norm, nn.utils.weight_norm, partial(prune.l1_unstructured, name="weight", amount=0.3)]
)
def test_spectral_norm_refuses_a_weight_that_is_computed(older):
    critic = nn.Sequential(nn.Linear(3, 4), older(nn.Linear(4, 1)))
    said = refusal(SpectralNorm().rewrite, nets(nn.Identity(), critic), Fixed(torch.zeros(4, 1)))
    assert said.startswith("trick.spectral_norm cannot scale the weight of discriminator.1, which is no parameter")


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


def test_the_slope_of_a_normed_convolution_is_at_most_that_of_its_places():
    """One kernel of 4 x 4 ones over 16 x 16 ones: each number is 16 / |kernel| = 4 after division by the norm 4."""
    layer = nn.Conv2d(1, 1, 4, bias=False)
    nn.init.ones_(layer.weight)
    SpectralNorm().rewrite(nets(nn.Identity(), nn.Sequential(layer)), Fixed(torch.zeros(4, 1)))
    image = torch.randn(1, 1, 16, 16)
    for _ in range(100):  # power iteration through the layer itself
        image = image / image.norm()
        out = layer(image)
        image = nn.functional.conv_transpose2d(out, layer.weight).detach()
    assert 3.5 < float(out.detach().norm()) <= 4 + 1e-5


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_normalisation_undoes_the_bound_and_is_told(compose, caplog, norm):
    """Trap: a critic of the Wasserstein game that passes for bounded: it divides by a small deviation."""
    torch.manual_seed(0)
    chosen = ["trick=[spectral_norm]", f"architecture.discriminator.normalization={norm}"]
    game = composed_game(compose, "objective=wasserstein", *chosen)
    assert ("normalization=none" in caplog.text) == (norm != "none")
    config = plain(compose(*chosen, "objective=wasserstein"))
    d, _ = players(game, 0.1)
    if norm == "none":
        check_use(config, Alternating(), game, d, [])
        return
    critic = game.nets["discriminator"].eval() if norm == "layer" else game.nets["discriminator"]
    v = (1e-3 * torch.randn(4, 1, 8, 8)).requires_grad_(True)  # all much alike
    (slope,) = torch.autograd.grad(critic(v, torch.full((4,), -1)).logits.sum(), v)
    assert norm == "batch" or float(slope.flatten(1).norm(dim=1).max()) > 1.5
    assert "undoes what trick.spectral_norm bounds" in refusal(check_use, config, Alternating(), game, d, [])
    for other in ("gradient_penalty", "weight_clipping"):
        both = composed_game(compose, "objective=wasserstein", f"trick=[spectral_norm,{other}]", chosen[1])
        check_use(config, Alternating(), both, d, [])


def test_a_reference_batch_is_normalisation_too(compose, caplog):
    net = ["architecture=dcgan", "dataset.resolution=16", "objective=wasserstein"]
    images = pictures(10, (1, 16, 16))
    for order in ("spectral_norm,virtual_batch_norm", "virtual_batch_norm,spectral_norm"):
        chosen = [*net, f"trick=[{order}]", "trick.virtual_batch_norm.player=discriminator"]
        game = composed_game(compose, *chosen, images=images)
        assert not game.tricks["spectral_norm"].lipschitz


@pytest.mark.parametrize("order", ["spectral_norm,{}", "{},spectral_norm"])
@pytest.mark.parametrize(("trick", "bounded"), [("minibatch_discrimination", False), ("minibatch_stddev", True)])
def test_weights_that_are_not_divided_undo_the_bound(compose, caplog, order, trick, bounded):
    chosen = [f"trick=[{order.format(trick)}]", "architecture.discriminator.normalization=none"]
    game = composed_game(compose, "objective=wasserstein", *chosen)
    assert ("does not divide" in caplog.text) != bounded
    check = partial(check_use, plain(compose(*chosen)), Alternating(), game, players(game, 0.1)[0], [])
    if bounded:
        return check()
    assert "undoes what trick.spectral_norm bounds" in refusal(check)
    closeness = next(module for module in game.nets["discriminator"].modules() if isinstance(module, Closeness))
    closeness.tensor.data *= 10  # as it may learn to be
    critic, v = game.nets["discriminator"], (0.01 * torch.randn(4, 1, 8, 8)).requires_grad_(True)
    critic.head.more.parametrizations.weight.original.data.fill_(1.0)
    for _ in range(20):
        critic(v, torch.full((4,), -1))
    (slope,) = torch.autograd.grad(critic(v, torch.full((4,), -1)).logits[0].sum(), v)
    assert float(slope[0].norm()) > 1.5


# ---------------------------------------------------------------- weight clipping


def test_clipping_clamps_d_and_leaves_g_alone():
    d, g = Linear(torch.tensor([-1.0, -0.005, 0.0, 0.005, 1.0])), Scalar(3.0)
    with torch.no_grad():
        WeightClipping(0.01).bound_d(nets(g, d))
    assert torch.equal(d.weight, torch.tensor([-0.01, -0.005, 0.0, 0.005, 0.01]))
    assert float(g.x.detach()) == 3.0


def test_clipping_acts_after_every_step_of_d():
    """A step of size 1 leaves [-c, c]; it is back before D's next step and before G's turn."""
    critic, largest_seen = Linear(torch.tensor([0.0])), []

    class Watch(Trick):
        def view(self, image: Tensor) -> Tensor:
            largest_seen.append(float(critic.weight.detach().abs().max()))
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
    with torch.no_grad():  # this D has no weights
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
        trick.after_round(nn.ModuleDict())
    assert float(trick.view(image).std()) == pytest.approx(0.4 * middle, rel=0.03)
    for _ in range(50):
        trick.after_round(nn.ModuleDict())
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
    moved, followed = float(game.nets["generator"].x.detach()) - 2, float(average.x) - 2
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


def test_an_average_of_normalised_weights_is_normalised():
    """Trap: its singular value by the vectors of the present weights, which are others."""
    torch.manual_seed(0)
    tricks = {"spectral_norm": SpectralNorm("generator"), "ema": EMA(half_life=40)}
    body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6))
    game = Game(body, Linear(torch.ones(1)), NonSaturating(), tricks, Fixed(torch.ones(4, 1)))
    live, kept = game.nets["generator"], game.tricks["ema"].average
    swing = 3 * torch.randn(6, 6)
    for step in range(100):
        with torch.no_grad():
            live(torch.randn(8, 6))
            for layer in (live[0], live[2]):
                layer.parametrizations.weight.original.add_(swing if step % 2 else -swing)
            after_g(game)
    kept.eval()
    assert largest(kept[0]) == pytest.approx(1, abs=0.05) and largest(kept[2]) == pytest.approx(1, abs=0.05)
    assert torch.equal(kept[1].running_var, live[1].running_var) and float(live[1].num_batches_tracked) == 100


class Masked(nn.Module):
    """A parametrisation of one's own, with a buffer that is no power iteration's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(2, 2))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def test_other_buffers_of_a_parametrisation_are_those_of_the_present():
    body = nn.Sequential(nn.Linear(2, 2))
    parametrize.register_parametrization(body[0], "weight", Masked())
    game = Game(body, Linear(torch.ones(1)), NonSaturating(), {"ema": EMA()}, Fixed(torch.ones(4, 1)))
    game.nets["generator"][0].parametrizations.weight[0].mask.zero_()
    with torch.no_grad():
        after_g(game)
    assert not game.tricks["ema"].average[0].weight.any()


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
        return float(game.d_loss()[0].detach()), float(game.g_loss()[0].detach())

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
