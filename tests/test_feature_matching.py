"""G matches what D sees, D plays its base: features by hand."""

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.types import Verdict
from gantool.game.updates import move
from gantool.objectives.feature_matching import FeatureMatching
from gantool.objectives.hinge import Hinge
from gantool.objectives.info import Info
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.relativistic import Relativistic
from gantool.objectives.semi_supervised import SemiSupervised
from gantool.objectives.wasserstein import Wasserstein
from toys import Fixed, Scalar, composed_game, pictures, players, refusal, same, turn, weights

BASES = [NonSaturating(), Hinge(), LeastSquares(), Relativistic(), Wasserstein(), SemiSupervised(1)]
each_base = pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)


class Squares(nn.Module):
    """Features (v, v^2), and a verdict of them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        features = torch.cat([image, image.square()], dim=1)
        return Verdict(self.head(features), features)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def g_loss(objective: Objective, real: Tensor, fake: Tensor) -> float:
    critic = Squares()
    return float(objective.g_loss(turn(real, fake, critic), critic(fake, fake)).detach())


@each_base
def test_three_points_by_hand(base):
    """Means of (v, v^2): (3, 41/3) of the reals 1, 2, 6 and (2, 26/3) of the fakes 0, 1, 5: 1 + 25."""
    objective = FeatureMatching(base)
    assert g_loss(objective, column(1, 2, 6), column(0, 1, 5)) == pytest.approx(26)
    assert g_loss(SemiSupervised(1), column(1, 2, 6), column(0, 1, 5)) == pytest.approx(26)
    assert g_loss(objective, column(1, 2, 6), column(6, 1, 2)) == pytest.approx(0, abs=1e-10)
    assert g_loss(objective, column(1, 2, 6, 7, 0), column(0, 1, 5)) > 0  # batches may differ in size


def test_equal_means_are_all_it_asks_for():
    """0, 3, 3 and 1, 1, 4 have the same mean and mean square, and are different."""
    assert g_loss(FeatureMatching(Hinge()), column(0, 3, 3), column(1, 1, 4)) == pytest.approx(0, abs=1e-10)


@each_base
def test_d_plays_its_base(base):
    """D's loss, and what is logged of it, is bit for bit that of the base."""
    torch.manual_seed(0)
    critic, generator = Squares(), Scalar(0.5)
    one, two = (
        Game(generator, critic, objective, {}, Fixed(column(1, 2, 6))) for objective in (base, FeatureMatching(base))
    )
    (loss, stats), (expected, known) = two.d_loss(), one.d_loss()
    assert stats == known and torch.equal(loss, expected)
    slopes, expected = (torch.autograd.grad(each, critic.parameters()) for each in (loss, expected))
    assert same(slopes, expected)
    images = torch.randn(4, 1)
    assert torch.equal(two.objective.score(turn(images, images, critic), images, images), base.score(
        turn(images, images, critic), images, images))  # fmt: skip


@each_base
def test_gradient_reaches_g_and_not_d(base):
    """G(z) = x = 1/2: d/dx [(x - 3)^2 + (x^2 - 41/3)^2] = 2 (x - 3) + 4 x (x^2 - 41/3). Its step leaves D alone."""
    game = Game(Scalar(0.5), Squares(), FeatureMatching(base), {}, Fixed(column(1, 2, 6)))
    d, g = players(game, lr=0.01)
    loss, stats = game.g_loss()
    assert game.source.asked == 1
    assert float(stats["g_loss"]) == pytest.approx(2.5**2 + (0.25 - 41 / 3) ** 2)
    slope = 2 * (0.5 - 3) + 2 * (0.25 - 41 / 3)
    before = weights(game.nets["discriminator"])
    move(game, g, g.grads(loss))
    assert float(game.nets["generator"].x.detach()) == pytest.approx(0.5 - 0.01 * slope)
    assert same(before, weights(game.nets["discriminator"]))


def test_reals_are_judged_with_their_own_labels():
    seen = []
    shown = turn(column(1, 2), column(3, 4), lambda image, label: seen.append(label) or Squares()(image, label))
    FeatureMatching(NonSaturating()).g_loss(shown, Squares()(column(3, 4), column(3, 4)))
    assert [label.tolist() for label in seen] == [[7, 7]]


def test_what_the_base_needs_is_inherited(compose):
    wish = ["objective=feature_matching", "objective@objective.base=wasserstein"]
    assert "objective feature_matching needs a critic of bounded slope" in refusal(composed_game, compose, *wish)
    game = composed_game(compose, *wish, "trick=[gradient_penalty]")
    assert type(game.objective.base) is Wasserstein
    wish = ["objective=feature_matching", "trick=[label_smoothing]"]
    assert type(composed_game(compose, *wish).objective.base) is NonSaturating
    assert "objective feature_matching has none" in refusal(
        composed_game, compose, *wish, "objective@objective.base=hinge"
    )


def test_bases_without_a_discriminator_of_their_own_are_refused(compose):
    """And those that give G a further loss, which would be lost; the other way round both are kept."""
    said = refusal(composed_game, compose, "objective=feature_matching", "objective@objective.base=mmd")
    assert said.startswith("objective.base: ") and "take another base" in said
    for base in ("info", "auxiliary_classifier"):
        said = refusal(composed_game, compose, "objective=feature_matching", f"objective@objective.base={base}")
        assert "objective.base=feature_matching" in said
    game = composed_game(compose, "objective=info", "objective@objective.base=feature_matching", images=pictures(10))
    assert (type(game.objective), type(game.objective.base)) == (Info, FeatureMatching)
    game.source.reserve(2), game.source.prepare(2)
    game.d_loss(), game.g_loss()
