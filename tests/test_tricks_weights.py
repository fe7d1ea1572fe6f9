"""Tricks on what moves the weights, and on layers: clipping, averages of the past, lazy penalties, noise, norms."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.game.game import Game
from gantool.game.hooks import Objective, Trick
from gantool.game.surgery import LAYERS
from gantool.game.updates import Alternating, Simultaneous
from gantool.objectives.wasserstein import Wasserstein
from gantool.tricks.gradient_clipping import GradientClipping
from gantool.tricks.gradient_penalty import GradientPenalty
from gantool.tricks.historical_averaging import HistoricalAveraging
from toys import Fixed, Linear, Scalar, composed_game, pictures, players, same, weights


class Product(Objective):
    """V(x, y) = E D(G(z)) = x y: G (x) descends, D (y) ascends."""

    def d_loss(self, turn, on_real, on_fake) -> Tensor:
        return -on_fake.logits.mean()

    def g_loss(self, turn, on_fake) -> Tensor:
        return on_fake.logits.mean()


def product(x: float, y: float, **tricks: Trick) -> Game:
    return Game(Scalar(x), Linear(torch.tensor([y])), Product(), tricks, Fixed(torch.ones(4, 1)))


def where(game: Game) -> tuple[float, float]:
    return float(game.nets["generator"].x.detach()), float(game.nets["discriminator"].weight.detach())


# ---------------------------------------------------------------- gradient clipping


def joint_norm(grads: list[Tensor]) -> float:
    return float(torch.cat([grad.flatten() for grad in grads]).norm())


@pytest.mark.parametrize("scale", [1e-3, 0.5, 3.0, 1e6])
def test_clipping_by_norm_scales_all_gradients_by_one_factor(scale):
    """Pascanu et al. 2013, algorithm 1: g limit / |g| where |g| >= limit, g itself where it is less."""
    torch.manual_seed(0)
    grads = [torch.randn(3, 4).double(), torch.randn(5).double(), torch.randn(()).double()]
    grads = [grad * scale / joint_norm(grads) for grad in grads]
    clipped = GradientClipping(2.0).gradients(grads)
    factor = min(1.0, 2.0 / scale)
    assert joint_norm(clipped) == pytest.approx(min(scale, 2.0), rel=1e-12)
    assert all(torch.allclose(after, factor * before, rtol=1e-12) for after, before in zip(clipped, grads, strict=True))
    assert same(clipped, grads) == (scale < 2)


def test_clipping_by_value_clamps_each_number():
    grads = [torch.tensor([[-9.0, 0.4]]), torch.tensor([0.5, 7.0])]
    clipped = GradientClipping(0.5, "value").gradients(grads)
    assert [grad.tolist() for grad in clipped] == [[[-0.5, pytest.approx(0.4)]], [0.5, 0.5]]


@pytest.mark.parametrize("by", ["norm", "value"])
def test_clipping_leaves_no_gradient_as_it_is(by):
    assert GradientClipping(1.0, by).gradients([torch.zeros(3)])[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("by", ["norm", "value"])
@pytest.mark.parametrize("rule", [Alternating(), Simultaneous()], ids=type)
def test_both_players_are_clipped(rule, by):
    """At x = 100, y = -50 the slopes are huge: with lr 0.25 and limit 2 each player moves by 0.5, downhill."""
    game = product(100.0, -50.0, clipping=GradientClipping(2.0, by))
    rule(game, *players(game, lr=0.25))
    assert where(game) == pytest.approx((100.5, -49.5))


def test_below_its_limit_clipping_changes_nothing():
    """Bit for bit, over twenty rounds of a game whose gradients stay below 10."""

    def trained(**tricks: Trick) -> list[Tensor]:
        game = product(1.0, 0.5, **tricks)
        d, g = players(game, lr=0.1, optimizer=torch.optim.Adam)
        for _ in range(20):
            Alternating()(game, d, g)
        return weights(game.nets)

    assert same(trained(), trained(clipping=GradientClipping(10.0)))
    assert not same(trained(), trained(clipping=GradientClipping(0.1, "value")))


# ---------------------------------------------------------------- historical averaging


def test_the_mean_is_over_all_rounds_and_the_start(compose):
    """In the nets of the command line, after each of six rounds: the mean of what the weights of both players were."""
    torch.manual_seed(0)
    game = composed_game(compose, "trick=[historical_averaging]", "architecture.generator.hidden=[4]",
                         "architecture.discriminator.hidden=[4]")  # fmt: skip
    d, g = players(game, lr=0.3)
    path = [weights(game.nets)]
    game.source.reserve(6)
    game.source.prepare(6)
    for _ in range(6):
        Alternating()(game, d, g)
        path.append(weights(game.nets))
        means = [*game.tricks["historical_averaging"].means.parameters()]
        expected = [torch.stack(each).double().mean(dim=0) for each in zip(*path, strict=True)]
        assert all(torch.allclose(a.double(), b, atol=1e-6) for a, b in zip(means, expected, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(path[0], path[-1], strict=True))
    saved = [name for name in game.state_dict() if ".means." in name]
    assert len(saved) == len(path[0]) and not any(mean.requires_grad for mean in means)


@torch.no_grad()
def test_the_penalty_is_the_squared_distance_to_the_mean():
    """Each player pays for its own: after weights 2, 4, 9 with mean 5, and 1, 0, -4 with mean -1, at weight 0.5."""
    game = product(2.0, 1.0, averaging=HistoricalAveraging(0.5))
    assert float(game.d_loss()[1]["d_averaging"]) == float(game.g_loss()[1]["g_averaging"]) == 0
    for x, y in ((4.0, 0.0), (9.0, -4.0)):
        game.nets["generator"].x.fill_(x)
        game.nets["discriminator"].weight.fill_(y)
        game.tricks["averaging"].after_round(game.nets)
    with torch.enable_grad():
        (d_loss, d_stats), (g_loss, g_stats) = game.d_loss(), game.g_loss()
        (of_x,) = torch.autograd.grad(g_loss, game.nets["generator"].x)
        (of_y,) = torch.autograd.grad(d_loss, game.nets["discriminator"].weight)
    assert float(d_stats["d_averaging"]) == pytest.approx(0.5 * (-4 + 1) ** 2)
    assert float(g_stats["g_averaging"]) == pytest.approx(0.5 * (9 - 5) ** 2)
    assert float(of_x) == pytest.approx(-4 + 2 * 0.5 * (9 - 5))
    assert float(of_y) == pytest.approx(-9 + 2 * 0.5 * (-4 + 1))


def test_the_game_that_spirals_out_converges_with_historical_averaging():
    """V = x y with z = x + i y: a round is z -> (1 + i lr) z - 2 w lr (z - m), m the mean of all z so far.

    Bare (w = 0), |z| grows by sqrt(1 + lr^2) a round. With it, and m as slow as a mean is, the eigenvalue is
    1 - 2 w lr + i lr, of modulus below 1 where lr < 4 w / (4 w^2 + 1), 0.8 at w = 1/4; so z follows its fixed point
    2 w m / (2 w - i), of modulus |m| / sqrt(5). Then dm / dlog t = (z - m) = i m / (2 w - i), whose real part is
    -m / (4 w^2 + 1): |m| falls as t^-0.8.
    """
    lr, w = 0.1, 0.25
    game, bare, sizes = product(1.0, 0.5, averaging=HistoricalAveraging(w)), product(1.0, 0.5), {}
    both, alone = players(game, lr), players(bare, lr)
    for t in range(1, 1601):
        Simultaneous()(game, *both)
        if t in (400, 1600):
            mean = [float(each) for each in game.tricks["averaging"].means.parameters()]
            sizes[t] = math.hypot(*where(game)), math.hypot(*mean)
    for _ in range(400):
        Simultaneous()(bare, *alone)
    assert math.hypot(*where(bare)) == pytest.approx(math.hypot(1, 0.5) * (1 + lr**2) ** 200, rel=1e-3)
    assert sizes[1600][1] / sizes[400][1] == pytest.approx(4**-0.8, rel=0.03)
    assert sizes[1600][0] / sizes[1600][1] == pytest.approx(5**-0.5, rel=0.03)
    assert sizes[1600][0] < 0.02


# ---------------------------------------------------------------- the lazy penalty


def lazy(every: int, kind: str = "r1") -> Game:
    """D(v) = 3 v, which does not learn: an R1 penalty of weight 2 is 2/2 * 9."""
    return Game(Scalar(2.0), Linear(torch.tensor([3.0])), Wasserstein(), {"lazy": GradientPenalty(kind, 2.0, every)},
                Fixed(torch.ones(4, 1)))  # fmt: skip


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_lazy_penalty_is_taken_in_due_rounds_and_weighs_more(every):
    """every * 9 in rounds 0, every, ...; the mean over eight rounds, which the column shows, is that of the penalty."""
    game = lazy(every)
    d, g = players(game, lr=0.0)
    kinds, column = [], []
    for step in range(8):
        kinds.append(game.begin(step))
        column.append(float(Alternating(2)(game, d, g)["d_lazy"]))
    assert column == pytest.approx([9.0 * every * (step % every == 0) for step in range(8)])
    assert sum(column) / 8 == pytest.approx(9.0)
    assert len(set(kinds)) == min(every, 2)  # rounds that do the same work are of one kind


def test_a_lazy_penalty_moves_d_as_much_in_all():
    """D's slope is that of its loss, 2 - 1, and in the round that is due four times the penalty's, 2/2 * 2 * 3."""
    game = lazy(4)
    for step, slope in ((0, 1 + 24), (1, 1), (3, 1), (4, 1 + 24)):
        game.begin(step)
        assert float(torch.autograd.grad(game.d_loss()[0], game.nets["discriminator"].weight)[0]) == pytest.approx(
            slope
        )


def test_rounds_without_the_penalty_do_not_ask_d():
    """What is saved is the work: a due round asks D thrice (reals, fakes, penalty), another twice."""
    game, asked = lazy(2), []
    game.nets["discriminator"].register_forward_hook(lambda *_: asked.append(1))
    for step, times in ((0, 3), (1, 2), (2, 3)):
        game.begin(step)
        game.d_loss()
        assert len(asked) == times
        asked.clear()


def test_the_phase_is_that_of_the_run():
    """Which round it is, not how many were begun: a game resumed at step 6 of every 4 waits for step 8."""
    game = lazy(4)
    due = []
    for step in range(6, 13):
        game.begin(step)
        due.append(game.tricks["lazy"].due)
    assert due == [False, False, True, False, False, False, True]


# ---------------------------------------------------------------- noise in D


def layers_of(net: nn.Module) -> list[nn.Module]:
    return [layer for layer in net.modules() if isinstance(layer, LAYERS)]


def entering(net: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """What each layer is given."""
    seen: list[Tensor] = []

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0].detach())

    hooks = [layer.register_forward_pre_hook(look) for layer in layers_of(net)]
    net(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


def test_noise_has_its_standard_deviation_at_each_layer(compose):
    """What enters a layer, less what the one before makes of what entered that: normal, 0.2 at the input, then 0.7."""
    torch.manual_seed(0)
    sigmas = ["trick.discriminator_noise.sigma_input=0.2", "trick.discriminator_noise.sigma=0.7"]
    hidden = "architecture.discriminator.hidden=[32,16]"
    game = composed_game(compose, "trick=[discriminator_noise]", *sigmas, hidden)
    net, image = game.nets["discriminator"], torch.rand(3000, 1, 8, 8)
    seen = entering(net, image, torch.full((3000,), -1))
    layers = layers_of(net)
    assert len(seen) == len(layers) == 3
    net.eval()  # a layer alone, without noise
    clean = [image.flatten(1), *(F.leaky_relu(layer(given), 0.2) for layer, given in zip(layers, seen, strict=True))]
    for given, without, sigma in zip(seen, clean[:3], (0.2, 0.7, 0.7), strict=True):
        noise = given - without.detach()
        assert float(noise.mean()) == pytest.approx(0, abs=0.02 * sigma)
        assert float(noise.std()) == pytest.approx(sigma, rel=0.02)
        assert float((noise / sigma).pow(4).mean()) == pytest.approx(3, rel=0.1)
        assert torch.corrcoef(noise[:, :8].T).triu(1).abs().max() < 0.1  # each number has its own


@pytest.mark.parametrize("architecture", ["mlp", "dcgan", "mlp_maxout"])
def test_noise_is_there_in_training_only(compose, architecture):
    """In eval mode D is, bit for bit, the D of the same seed without the trick."""

    def net(*tricks: str) -> nn.Module:
        torch.manual_seed(0)
        return composed_game(compose, f"architecture={architecture}", *tricks).nets["discriminator"]

    bare, noisy = net(), net("trick=[discriminator_noise]")
    image, label = torch.rand(4, 1, 8, 8), torch.full((4,), -1)
    assert not torch.allclose(noisy(image, label).logits, noisy(image, label).logits)
    bare.eval(), noisy.eval()
    assert torch.equal(bare(image, label).logits, noisy(image, label).logits)


def test_a_projected_class_has_no_noise(compose):
    """Of all layers the last, whose input is the class itself, is given one-hot vectors."""
    game = composed_game(compose, "trick=[discriminator_noise]", "architecture.class_conditional=true",
                         "architecture.projection=true", images=pictures(10))  # fmt: skip
    label = torch.tensor([0, 1, 1, 0])
    seen = entering(game.nets["discriminator"], torch.rand(4, 1, 8, 8), label)
    assert torch.equal(seen[-1], torch.eye(2)[label])


# ---------------------------------------------------------------- spectral norm after all surgery


@pytest.mark.parametrize("other", ["minibatch_discrimination", "minibatch_stddev", "discriminator_noise"])
@pytest.mark.parametrize("first", [True, False])
def test_spectral_norm_is_the_last_to_rewrite(compose, other, first):
    """In either order every layer there is in the end, those that were added too, has the largest singular value 1."""
    torch.manual_seed(0)
    order = ["spectral_norm", other] if first else [other, "spectral_norm"]
    game = composed_game(compose, f"trick=[{','.join(order)}]", "architecture.discriminator.hidden=[16]")
    net, plain = game.nets["discriminator"], composed_game(compose, "architecture.discriminator.hidden=[16]")
    for _ in range(80):
        verdict = net(torch.randn(4, 1, 8, 8), torch.full((4,), -1))
    for layer in layers_of(net):
        assert float(torch.linalg.svdvals(layer.weight.detach())[0]) == pytest.approx(1, abs=0.01)
    more = {"minibatch_discrimination": 100, "minibatch_stddev": 1, "discriminator_noise": 0}[other]
    assert verdict.features.shape[1] == plain.nets["discriminator"].num_features + more


@pytest.mark.parametrize("player", ["discriminator", "generator", "both"])
def test_spectral_norm_goes_with_normalisation_by_a_reference_batch(compose, player):
    """Both rewrite the same player; the average of G, which copies it, follows them."""
    order = "spectral_norm,virtual_batch_norm,ema"
    game = composed_game(compose, "architecture=dcgan", f"trick=[{order}]", f"trick.spectral_norm.player={player}")
    normed = {name for name, net in game.nets.items() if any("parametrizations" in key for key in net.state_dict())}
    assert normed == ({"discriminator", "generator"} if player == "both" else {player})
    assert set(game.deployed.state_dict()) == set(game.nets["generator"].state_dict())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in game.nets["generator"].modules())
