"""BEGAN by hand: errors, losses, the feedback of k, and an autoencoder of the widths that the paper draws."""

import math

import pytest
import torch
from torch import Tensor, nn

from gantool.architectures import autoencoder
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.updates import Alternating, Player, Simultaneous
from gantool.objectives.began import BEGAN
from toys import Fixed, Scalar, composed_game, players, refusal, turn, verdict

SMALL = [
    "architecture=autoencoder", "objective=began", "architecture.latent_dim=3", "architecture.generator.features=2",
    "architecture.discriminator.features=2", "architecture.discriminator.hidden=3",
]  # fmt: skip


def labels(n: int, label: int = -1) -> Tensor:
    return torch.full((n,), label)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# ---------------------------------------------------------------- the game


def moved(objective: BEGAN, real: list[float], fake: list[float]) -> tuple[float, float, float]:
    """D's loss, G's loss and k after a step of D, where D reconstructs with these errors."""
    on_real, on_fake = verdict(torch.tensor(real)), verdict(torch.tensor(fake))
    shown = turn(torch.zeros(len(real)), torch.zeros(len(fake)))
    d_loss, g_loss = objective.d_loss(shown, on_real, on_fake), objective.g_loss(shown, on_fake)
    objective.after_d(nn.ModuleDict())
    return float(d_loss), float(g_loss), float(objective.k)


def test_losses_and_k_by_hand():
    """gamma = 1/2, lambda = 1/4, k_0 = 0 (Berthelot et al. 2017, section 3.4). Each row: L(x), L(G(z)) of two examples.

    d = L(x) - k L(G(z)) with k before its step, g = L(G(z)), k += (L(x) / 2 - L(G(z))) / 4 within [0, 1].
    """
    objective = BEGAN(gamma=0.5, rate=0.25)
    assert moved(objective, [1.0, 3.0], [2.0, 4.0]) == (2.0, 3.0, 0.0)  # -> -1/2, clipped
    assert moved(objective, [3.0, 5.0], [0.5, 1.5]) == (4.0, 1.0, 0.25)  # -> 0 + (2 - 1) / 4
    assert moved(objective, [2.0, 2.0], [0.5, 0.5]) == (1.875, 0.5, 0.375)  # -> 1/4 + (1 - 1/2) / 4
    assert moved(objective, [9.0, 9.0], [1.0, 1.0]) == (8.625, 1.0, 1.0)  # -> 3/8 + (4.5 - 1) / 4, clipped
    assert moved(objective, [1.0, 1.0], [1.0, 1.0]) == (0.0, 1.0, 0.875)  # -> 1 + (1/2 - 1) / 4


@pytest.mark.parametrize("fake, direction", [(0.4, 1), (0.5, 0), (0.6, -1)])
def test_fakes_that_are_too_easy_raise_k(fake, direction):
    """L(x) = 1, gamma = 1/2: below 1/2, D is to look more at fakes; above, less (ibid., section 3.4)."""
    objective = BEGAN(gamma=0.5, rate=0.001)
    objective.k.fill_(0.5)
    assert moved(objective, [1.0], [fake])[2] - 0.5 == pytest.approx(direction * 0.0001, abs=1e-7)


def test_k_follows_once_a_step_however_often_the_loss_is_asked_for():
    """An update rule that looks ahead asks for D's loss without a step: k waits for `after_d`, then takes the last."""
    objective = BEGAN(gamma=0.5, rate=0.25)
    objective.k.fill_(0.5)
    for error in (1.0, 2.0, 3.0):
        on_real, on_fake = verdict(torch.tensor([2.0])), verdict(torch.tensor([error], requires_grad=True))
        loss = objective.d_loss(turn(torch.zeros(1), torch.zeros(1)), on_real, on_fake)
        assert float(objective.k) == 0.5
    objective.after_d(nn.ModuleDict())
    assert float(objective.k) == 0.5 + (1 - 3) / 4
    loss.backward()  # k has moved in between, and the graph must not mind


class Errors(nn.Module):
    """Reconstructs reals, which are 1, with L(x) = 1 + w^2 / 2, and fakes, which are 0, with L(G(z)) = w + 0.2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(image * (1 + self.w.square() / 2) + (1 - image) * (self.w + 0.2))


@pytest.mark.parametrize("update", [Alternating(), Simultaneous(), Alternating(discriminator_steps=3)])
def test_k_settles_where_the_errors_are_in_balance(update):
    """D's best w is k. gamma (1 + k^2 / 2) = k + 0.2 with gamma = 1/2: k = 2 - sqrt(2.8). There M = L(x)."""
    game = Game(Scalar(0.0), Errors(), BEGAN(gamma=0.5, rate=0.05), {}, Fixed(torch.ones(4, 1)))
    d, _ = players(game, lr=0.5)
    still = Player(game.nets["generator"].parameters(), lambda weights: torch.optim.SGD(weights, lr=0.0))
    for _ in range(300):
        stats = update(game, d, still)
    k = 2 - math.sqrt(2.8)
    assert float(stats["k"]) == pytest.approx(k, abs=1e-4)
    assert -float(stats["d_real"]) == pytest.approx(1 + k**2 / 2, abs=1e-4)
    assert -float(stats["d_fake"]) == pytest.approx((1 + k**2 / 2) / 2, abs=1e-4)
    assert float(stats["convergence"]) == pytest.approx(1 + k**2 / 2, abs=2e-4)


@pytest.mark.parametrize("fake, expected", [(1.0, 2.0), (0.5, 2.5), (2.0, 3.0)])
def test_global_measure_is_a_column(fake, expected):
    """M = L(x) + |gamma L(x) - L(G(z))| with L(x) = 2 and gamma = 1/2 (ibid., section 3.4.1); k as D's loss used it."""
    objective = BEGAN(gamma=0.5)
    objective.k.fill_(0.25)
    on_real, on_fake = verdict(torch.tensor([1.0, 3.0])), verdict(torch.full((2,), fake))
    columns = objective.report(turn(torch.zeros(2), torch.zeros(2)), on_real, on_fake)
    objective.k.fill_(0.75)
    assert {name: float(value) for name, value in columns.items()} == {"k": 0.25, "convergence": expected}


def test_columns_of_a_step(compose):
    game = composed_game(compose, *SMALL)
    game.source.reserve(1)
    game.source.prepare(1)
    stats = Alternating()(game, *players(game, lr=0.01))
    assert set(stats) == {"d_loss", "d_real", "d_fake", "k", "convergence", "g_loss", "d_grad_norm", "g_grad_norm"}
    assert float(stats["d_real"]) < 0, "realness is the error, negated"
    assert float(stats["convergence"]) == pytest.approx(
        -float(stats["d_real"]) + abs(float(stats["d_fake"]) - float(stats["d_real"]) / 2), rel=1e-5
    )


def test_k_is_saved_and_goes_on(compose):
    """Two steps, saved, one more: the same k as three steps; lambda is large, so that each step shows."""
    first, second = (composed_game(compose, *SMALL, "objective.rate=0.1", "objective.gamma=1") for _ in range(2))

    def steps(game: Game, n: int) -> None:
        d, g = players(game, lr=0.0)
        game.source.reserve(n)
        game.source.prepare(n)
        for _ in range(n):
            Alternating()(game, d, g)

    first.objective.k.fill_(0.5)
    steps(first, 2)
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    assert 0 < float(saved["objective.k"]) < 1 and float(saved["objective.k"]) != 0.5
    second.restore(saved)
    for game in (first, second):
        torch.manual_seed(5)
        steps(game, 1)
    assert float(first.objective.k) == float(second.objective.k) != float(saved["objective.k"])


# ---------------------------------------------------------------- who may play


@pytest.mark.parametrize("architecture", ["mlp", "mlp_maxout", "dcgan"])
def test_another_discriminator_is_refused(compose, architecture):
    said = refusal(composed_game, compose, "objective=began", f"architecture={architecture}")
    assert said.endswith("objective began needs a discriminator that is an autoencoder: take architecture=autoencoder")


@pytest.mark.parametrize("objective", ["non_saturating", "hinge", "wgan_gp", "auxiliary_classifier", "info"])
def test_another_objective_is_refused(compose, objective):
    said = refusal(composed_game, compose, *SMALL, f"objective={objective}")
    assert f"objective {objective.removesuffix('_gp').replace('wgan', 'wasserstein')} has no use for" in said
    assert "take objective=began, or another architecture" in said


def test_projection_is_refused(compose):
    conditional = ["architecture.class_conditional=true", "architecture.projection=true"]
    assert "no verdict that a projection could be added to" in refusal(composed_game, compose, *SMALL, *conditional)


# ---------------------------------------------------------------- the autoencoder


def reconstruction(net: autoencoder.Discriminator, image: Tensor) -> Tensor:
    return net.head(net.trunk(image)).detach()


@pytest.mark.parametrize("shape", [(c, size, size) for size in (8, 28, 32, 64) for c in (1, 3)] + [(2,)], ids=str)
@pytest.mark.parametrize("eta", [1, 2])
def test_verdict_is_the_error_of_each_example(shape, eta):
    """L(v) = |v - D(v)|^eta, the mean over an example's numbers, an example at a time and in plain Python sums."""
    torch.manual_seed(0)
    net = autoencoder.Discriminator(shape, logits=1, features=2, hidden=5, eta=eta).double()
    image = torch.rand(3, *shape, dtype=torch.float64) * 2 - 1
    logits, features = net(image, labels(3))
    assert (logits.shape, features.shape, net.num_features) == ((3, 1), (3, 5), 5)
    assert torch.equal(features, net.trunk(image))
    for one, error in zip(image, logits, strict=True):
        pairs = zip(one.flatten().tolist(), reconstruction(net, one[None]).flatten().tolist(), strict=True)
        assert float(error.detach()) == pytest.approx(sum(abs(a - b) ** eta for a, b in pairs) / one.numel(), rel=1e-9)


@pytest.mark.parametrize("shape", [(c, size, size) for size in (8, 28, 32, 64) for c in (1, 3)] + [(2,)], ids=str)
def test_generator_has_the_shape_and_is_the_decoder(shape):
    """`The same architecture, though not the same weights' (Berthelot et al. 2017, section 3.5)."""
    generator = autoencoder.Generator(shape, 4, num_classes=3, features=2)
    assert generator(torch.randn(2, 4), labels(2)).shape == (2, *shape)
    mine, ds = generator.body[0], autoencoder.Discriminator(shape, features=2, hidden=7).head
    assert [tuple(p.shape) for p in mine.parameters()] == [tuple(p.shape) for p in ds.parameters()]
    if len(shape) == 3:
        assert generator(torch.full((2, 4), 1e4), labels(2)).abs().max() <= 1


def test_widths_are_those_of_the_paper():
    """n = 5 at 64 pixels: encoder maps of 5, 10, 15, 20 channels at 64, 32, 16, 8 pixels, then h; decoder maps of 5."""
    net = autoencoder.Discriminator((3, 64, 64), features=5, hidden=6)
    seen: list[tuple[int, ...]] = []
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(lambda layer, _, output: seen.append(tuple(output.shape[1:])))
    net(torch.zeros(1, 3, 64, 64), labels(1))
    down = [
        (5 * (i + 1), 64 // 2**i, 64 // 2**i) for i in range(4) for _ in range(3)
    ]  # the first of three has stride 2
    up = [(5, 8 * 2**i, 8 * 2**i) for i in range(4) for _ in range(2)]
    assert seen == [*down, (6,), (5 * 8 * 8,), *up, (3, 64, 64)]
    kinds = [type(layer) for layer in net.trunk]
    assert kinds == [nn.Conv2d, nn.ELU] * 12 + [nn.Flatten, nn.Linear], "no activation at the bottleneck"
    assert {layer.alpha for layer in net.modules() if isinstance(layer, nn.ELU)} == {1.0}
    assert {layer.mode for layer in net.head if isinstance(layer, nn.Upsample)} == {"nearest"}
    assert isinstance(net.head[-1], nn.Conv2d) and isinstance(net.head[1], nn.Unflatten), "nor around it"


def test_parameters_at_64_pixels():
    """n = 128 and h = 64: a 3 x 3 map from a to b channels has (9 a + 1) b numbers. Both nets: 17.3 million."""
    n, h = 128, 64
    maps = lambda a, b: (9 * a + 1) * b  # noqa: E731
    decoder = (h + 1) * 64 * n + 8 * maps(n, n) + maps(n, 3)
    halving = maps(n, 2 * n) + maps(2 * n, 3 * n) + maps(3 * n, 4 * n)
    encoder = maps(3, n) + 2 * sum(maps(i * n, i * n) for i in (1, 2, 3, 4)) + halving + (64 * 4 * n + 1) * h
    shape = (3, 64, 64)
    assert count(autoencoder.Generator(shape, h, features=n)) == decoder
    assert count(autoencoder.Discriminator(shape, features=n, hidden=h)) == encoder + decoder
    assert round((encoder + 2 * decoder) / 1e6, 1) == 17.3


def test_label_is_seen_and_not_reconstructed():
    """One-hot planes join what is encoded; the error is over the image's numbers alone."""
    torch.manual_seed(0)
    net = autoencoder.Discriminator((3, 8, 8), num_classes=2, features=2, hidden=3)
    image = torch.rand(2, 3, 8, 8)
    planes = torch.zeros(2, 2, 8, 8)
    planes[0, 1] = 1  # the first is of class 1, the second of none
    decoded = reconstruction(net, torch.cat([image, planes], dim=1))
    logits = net(image, torch.tensor([1, -1])).logits
    assert decoded.shape == image.shape
    assert torch.allclose(logits[:, 0], (image - decoded).abs().mean(dim=(1, 2, 3)))
    assert not torch.allclose(logits, net(image, torch.tensor([0, 0])).logits)


def test_error_is_taken_in_float32_under_autocast():
    """A pixel of 1 and its bfloat16 reconstruction differ by what bfloat16 cannot hold: compared in float64."""
    torch.manual_seed(0)
    net = autoencoder.Discriminator((1, 8, 8), features=2, hidden=3)
    image = torch.rand(4, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        decoded, logits = reconstruction(net, image), net(image, labels(4)).logits.detach()
    assert (decoded.dtype, logits.dtype) == (torch.bfloat16, torch.float32)
    exact = (image.double() - decoded.double()).abs().mean(dim=(1, 2, 3))
    assert torch.allclose(logits[:, 0].double(), exact, rtol=1e-6)


@pytest.mark.parametrize("size, smallest, halvings", [(8, 8, 0), (16, 8, 1), (28, 7, 2), (48, 6, 3), (256, 8, 5)])
def test_smallest_map_is_of_8_pixels_or_what_can_be_had(size, smallest, halvings):
    assert autoencoder.stages((1, size, size)) == (smallest, halvings)


@pytest.mark.parametrize("height, width", [(7, 7), (9, 9), (30, 30), (36, 36), (512, 512), (32, 16)])
def test_other_resolutions_are_refused(height, width):
    for build in (
        lambda: autoencoder.Generator((1, height, width), 6),
        lambda: autoencoder.Discriminator((1, height, width)),
    ):
        with pytest.raises(UsageError, match=f"architecture=autoencoder cannot build {height} x {width} pixels: take"):
            build()
