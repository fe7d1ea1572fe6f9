"""The class: who is told it, in which form, beside which example; and the verdicts that a D reaches that knows it.

Three ways of judging it are compared with the same densities: as an input (Mirza and Osindero 2014), and as a
projection (Miyato and Koyama 2018) with features that are learnt or given.
"""

from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn

from gantool.architectures import mlp
from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.engine.source import DeviceSource
from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.networks import Discriminator
from gantool.game.types import Images
from gantool.game.updates import Player
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.non_saturating import NonSaturating
from gantool.priors.normal import Normal
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import Scalar, Shown, composed_game, pictures, plain, turn, verdict

TOLD, PROJECTED = "architecture.class_conditional=true", "architecture.projection=true"
SHAPE, CLASSES = (1, 8, 8), 3


class Mirror(mlp.Discriminator):
    """Stands for a D whose verdict is an error of reconstruction."""

    energy = True


class Strip(Discriminator):
    """A user's own D: the trunk is no Sequential, the head no Linear."""

    def __init__(self, shape, num_classes=0, logits=1, **ignored):
        super().__init__(shape, num_classes, logits)
        self.num_features = 5
        self.trunk = nn.ModuleDict({"flat": nn.Flatten(), "line": nn.Linear(self.inputs, 5)})
        self.trunk.forward = lambda x: torch.tanh(self.trunk["line"](self.trunk["flat"](x)))
        self.head = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, logits))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


# objectives that need something get it
NEEDS = {
    "began": [f"architecture.discriminator._target_={__name__}.Mirror"],
    "wasserstein": ["trick=[spectral_norm]"],
}
NETS = [f"architecture={name}" for name in options("architecture") if name != "autoencoder"]
NETS.append(f"architecture.discriminator._target_={__name__}.Strip")


def built(compose, *chosen: str) -> Game:
    torch.manual_seed(0)
    game = composed_game(compose, *chosen, builder=Builder((__name__,), 100), images=pictures(12, classes=CLASSES))
    game.source.reserve(4)
    game.source.prepare(4)
    return game.eval()


def answers(net: nn.Module, x: Tensor, *labels: int) -> list[Tensor]:
    """What a net says of the same x under each label: G its images, D its logits."""
    with torch.no_grad():
        said = [net(x, torch.full((len(x),), label)) for label in labels]
    return [each if isinstance(each, Tensor) else each.logits for each in said]


def depends(net: nn.Module, x: Tensor) -> bool:
    """On the label; every class must give another answer than every other, and than none."""
    said = answers(net, x, *range(CLASSES), -1)
    equal = [torch.equal(a, b) for i, a in enumerate(said) for b in said[:i]]
    assert all(equal) or not any(equal), "some labels matter and some do not"
    return not any(equal)


def latents(game: Game) -> Tensor:
    return torch.randn(4, game.source.latent_dim)


# ---------------------------------------------------------------- who is told


@pytest.mark.parametrize("way", ["", TOLD, f"{TOLD} {PROJECTED}"], ids=["untold", "input", "projection"])
@pytest.mark.parametrize("net", NETS)
def test_players_know_the_class_where_they_are_told(compose, net, way):
    game = built(compose, net, *way.split())
    assert depends(game.nets["generator"], latents(game)) is bool(way)
    assert depends(game.nets["discriminator"], torch.randn(4, *SHAPE)) is bool(way)


@pytest.mark.parametrize("objective", options("objective"))
def test_with_every_objective(compose, objective):
    chosen = [f"objective={objective}", TOLD, *NEEDS.get(objective, [])]
    declared = Builder().choice(built_config(compose, *chosen), (1, 8, 8), CLASSES).objective
    if not declared.critic:  # the class is in the features of what stands for D, and no other number's business
        game = built(compose, *chosen)
        said = game.nets["discriminator"](torch.randn(4, *SHAPE), torch.tensor([0, 1, 2, -1])).features
        assert torch.equal(said, torch.eye(4, CLASSES))
        assert depends(game.nets["generator"], latents(game))
        return
    game = built(compose, *chosen)
    assert depends(game.nets["generator"], latents(game))
    assert depends(game.nets["discriminator"], torch.randn(4, *SHAPE)) is declared.tells_class


def built_config(compose, *chosen: str) -> dict:
    chosen = tuple(each for each in chosen if "_target_" not in each)  # what only `built` trusts
    return plain(compose(*chosen))


@pytest.mark.parametrize("net", NETS)
def test_an_unknown_class_is_zeros(compose, net):
    """G(z, -1) is its body on (z, 0); D(x, -1) its trunk on x and planes of zeros, D(x, c) on planes c of ones."""
    game = built(compose, net, TOLD)
    generator, discriminator = game.nets["generator"], game.nets["discriminator"]
    z, x = latents(game), torch.randn(4, *SHAPE)
    with torch.no_grad():
        by_hand = generator.body(torch.cat([z, torch.zeros(4, CLASSES)], dim=1)).view(4, *SHAPE)
        assert torch.equal(answers(generator, z, -1)[0], by_hand)
        for label in (-1, 0, 2):
            planes = torch.stack([torch.full((4, 8, 8), float(label == c)) for c in range(CLASSES)], dim=1)
            by_hand = discriminator.head(discriminator.trunk(torch.cat([x, planes], dim=1)))
            assert torch.equal(answers(discriminator, x, label)[0], by_hand)


# ---------------------------------------------------------------- whose label is whose


class Echo(Scalar):
    """Draws (label, label): the class that was asked for can be read off every fake."""

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return label[:, None].float().expand(-1, 2) * self.x


class Asks(nn.Module):
    """A D that keeps the pairs it is asked to judge."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple[float, int]] = []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor, label: Tensor):
        self.seen += zip(image[:, 0].tolist(), label.tolist(), strict=True)
        return verdict(self.weight * image[:, 0])


class Greedy(Shown):
    """Looks at everything."""

    needs_real = needs_labelled = True

    def d_loss(self, turn, on_real, on_fake) -> Tensor:
        turn.judge(turn.labelled, turn.labelled_class)
        return super().d_loss(turn, on_real, on_fake)

    def g_loss(self, turn, on_fake) -> Tensor:
        turn.judge(turn.real, turn.label)
        return super().g_loss(turn, on_fake)


def test_every_example_is_judged_with_its_own_label():
    """Reals of class c are the points 100 + c, fakes that were asked to be of class c the points c: in every turn."""
    label = torch.arange(40) % 4
    images = Images((100.0 + label)[:, None].expand(-1, 2).clone(), label, tuple("abcd"))
    source = DeviceSource(images, Normal(), 3, batch_size=16)
    source.reserve(2)
    source.prepare(2)
    game = Game(Echo(1.0), Asks(), Greedy(), {"r1": GradientPenalty("r1"), "r2": GradientPenalty("r2")}, source)
    game.d_loss()
    game.g_loss()
    seen = game.nets["discriminator"].seen
    assert len(seen) == 16 * (3 + 2 + 2)  # D: real, fake, labelled, and both penalties; G: fake, real
    assert all(x % 100 == label for x, label in seen)
    assert {x for x, _ in seen} == {*range(4), *range(100, 104)}


SLOPES = torch.arange(9, dtype=torch.float64)  # D(v, y) = y v


@pytest.mark.parametrize(
    "kind, label, expected",
    [
        ("r1", 7, 10 / 2 * 7**2),  # at reals, whose label is 7
        ("dragan", 7, 10 * (7 - 1) ** 2),  # around reals
        ("wgan_gp", 7, 10 * (7 - 1) ** 2),  # an interpolate has the label of its real
        ("r2", 8, 10 / 2 * 8**2),  # at fakes, whose label is 8
    ],
)
def test_a_penalty_has_the_label_of_its_points(kind, label, expected):
    asked: list[int] = []

    def critic(image: Tensor, label: Tensor):
        asked.extend(label.tolist())
        return verdict(SLOPES[label] * image[:, 0])

    trick, real, fake = GradientPenalty(kind, 10.0), torch.ones(3, 1).double(), torch.zeros(3, 1).double()
    found = trick.d_penalty(turn(real, fake, critic), None, None)
    assert asked == [label] * 3
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------- what a trained D says


class Ramps(nn.Module):
    """Two classes, as likely as each other, on [0, 1]:

    p(x | 0) = 1/2 + x against q(x | 0) = 3/2 - x, and p(x | 1) = 3/2 - x against q(x | 1) = 1.
    Draws are one from each of so many slices of equal probability; the latent is the fake.
    """

    num_classes, batch_size = 2, 512

    def _draws(self) -> tuple[Tensor, Tensor]:
        """Draws of 1/2 + x by the inverse of (x + x^2)/2, and of the uniform."""
        n = self.batch_size // 2
        share = (torch.randperm(n) + torch.rand(n)) / n
        return torch.sqrt(0.25 + 2 * share) - 0.5, share

    def _both(self, zero: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
        label = torch.tensor([0, 1]).repeat_interleave(self.batch_size // 2)
        mixed = torch.randperm(self.batch_size)
        return torch.cat([zero, one])[mixed, None], label[mixed]

    def reals(self) -> tuple[Tensor, Tensor]:
        return self._both(self._draws()[0], 1 - self._draws()[0])

    def latents(self) -> tuple[Tensor, Tensor]:
        return self._both(1 - self._draws()[0], self._draws()[1])


class HandsOn(nn.Module):
    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return latent


def told_d(hidden: list[int], way: str) -> mlp.Discriminator:
    torch.manual_seed(0)
    if way == "input":
        return mlp.Discriminator((1,), num_classes=2, hidden=hidden)
    net = mlp.Discriminator((1,), hidden=hidden)
    net.project(2)
    return net


def trained(objective: Objective, source: nn.Module, net: nn.Module, steps: int = 500, lr: float = 0.01) -> nn.Module:
    """D alone."""
    game = Game(HandsOn(), net, objective, {}, source)
    d = Player(net.parameters(), partial(torch.optim.Adam, lr=lr))
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(d.optimizer, steps)
    for _ in range(steps):
        d.apply(d.grads(game.d_loss()[0]))
        rates.step()
    return net


INSIDE = torch.linspace(0.05, 0.95, 91)
RAMPS = {0: (0.5 + INSIDE) / (1.5 - INSIDE), 1: 1.5 - INSIDE}  # p(x | y) / q(x | y)


@cache
def log_ratio(way: str) -> nn.Module:
    return trained(NonSaturating(), Ramps(), told_d([32, 32], way))


@pytest.mark.parametrize("way", ["input", "projection"])
@pytest.mark.parametrize("label", [0, 1])
def test_the_best_d_says_the_log_ratio_of_the_class(way, label):
    """Goodfellow et al. 2014, proposition 1, class by class: log p(x | y) / q(x | y); never that of the other class."""
    (said,) = answers(log_ratio(way), INSIDE[:, None], label)
    assert float((said[:, 0] - RAMPS[label].log()).abs().max()) < 0.2
    assert float((said[:, 0] - RAMPS[label].log()).abs().mean()) < 0.06
    assert float((said[:, 0] - RAMPS[1 - label].log()).abs().mean()) > 0.4


def test_the_best_d_of_least_squares_class_by_class():
    """p / (p + q) (Mao et al. 2017, equation 5, with a = 0 and b = 1), of the class."""
    net = trained(LeastSquares(0.0, 1.0, 1.0), Ramps(), told_d([32, 32], "input"))
    for label, ratio in RAMPS.items():
        (said,) = answers(net, INSIDE[:, None], label)
        assert float((said[:, 0] - ratio / (1 + ratio)).abs().mean()) < 0.02
