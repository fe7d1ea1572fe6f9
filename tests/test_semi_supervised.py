"""A classifier with one class more: its loss is that of K + 1 classes; what it learns is known (Salimans 2016, 5)."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gantool.commands.assembly import Assembly
from gantool.game.game import Game
from gantool.game.hooks import Trick
from gantool.game.losses import class_entropy
from gantool.game.types import Verdict
from gantool.game.updates import Player
from gantool.objectives.semi_supervised import SemiSupervised
from image_files import save
from toys import Fixed, Linear, Scalar, Shown, composed_game, plain, points, refusal, turn

K = 10


def said(logits: Tensor) -> Verdict:
    return Verdict(logits, logits)


def random_logits(*sizes: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [3 * torch.randn(n, K, dtype=torch.float64) for n in sizes]


def d_loss(real: Tensor, fake: Tensor, labelled: Tensor, label: Tensor, weight: float = 1.0) -> Tensor:
    """D's loss where these are its logits."""
    shown = turn(real, fake, critic=lambda image, _: said(image), labelled=labelled, labelled_class=label)
    return SemiSupervised(K, weight=weight).d_loss(shown, said(real), said(fake))


# ---------------------------------------------------------------- the loss


def with_pinned_class(logits: Tensor) -> Tensor:
    """(N, K) -> (N, K + 1) log p, by the definition of softmax, with l_{K+1} = 0."""
    mass = torch.cat([logits, torch.zeros(len(logits), 1, dtype=logits.dtype)], dim=1).exp()
    return (mass / mass.sum(dim=1, keepdim=True)).log()


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_loss_is_that_of_one_class_more(weight):
    """L = -E log p(y | x, y <= K) - E log(1 - p(K+1 | x)) - E log p(K+1 | G(z)): value and slope."""
    logits, label = random_logits(7, 5, 6), torch.tensor([0, 9, 3, 3, 1, 0])
    real, fake, labelled = (x.requires_grad_(True) for x in logits)
    mine = d_loss(real, fake, labelled, label, weight)
    among_k = with_pinned_class(labelled).exp()[:, :K]
    of_label = (among_k / among_k.sum(dim=1, keepdim=True))[torch.arange(6), label]
    known = -weight * of_label.log().mean()
    known = known - (1 - with_pinned_class(real).exp()[:, K]).log().mean() - with_pinned_class(fake)[:, K].mean()
    assert float(mine.detach()) == pytest.approx(float(known.detach()), abs=1e-6)
    slopes, expected = (torch.autograd.grad(loss, logits, allow_unused=True) for loss in (mine, known))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(slopes, expected, strict=True))


def test_d_is_z_over_z_plus_one():
    (logits,) = random_logits(20)
    z = logits.exp().sum(dim=1)
    assert torch.allclose(SemiSupervised(K).realness(logits).sigmoid(), z / (z + 1), atol=1e-12)
    assert torch.allclose(with_pinned_class(logits).exp()[:, :K].sum(dim=1), z / (z + 1), atol=1e-12)


def test_class_entropy_is_that_of_softmax():
    (logits,) = random_logits(4)
    label = torch.tensor([2, 0, 9, 5])
    by_hand = [
        -math.log(math.exp(row[y]) / sum(map(math.exp, row)))
        for row, y in zip(logits.tolist(), label.tolist(), strict=True)
    ]
    assert float(class_entropy(logits, label)) == pytest.approx(sum(by_hand) / 4, abs=1e-9)


def test_examples_without_a_label_do_not_count():
    """The mean is over those that have one, and only they get a slope; where none has, 0 and no NaN."""
    (logits,) = random_logits(4)
    some = torch.tensor([-1, 4, -1, 7])
    assert float(class_entropy(logits, some)) == pytest.approx(float(class_entropy(logits[1::2], some[1::2])))
    for label, slope_at in ((some, [False, True, False, True]), (torch.full((4,), -1), [False] * 4)):
        x = logits.clone().requires_grad_(True)
        loss = class_entropy(x, label)
        (slope,) = torch.autograd.grad(loss, x)
        assert (slope.abs().sum(dim=1) > 0).tolist() == slope_at
        assert torch.isfinite(slope).all() and (loss.detach() > 0) == any(slope_at)
    real, fake = random_logits(3, 3)
    unlabelled = d_loss(real, fake, logits, torch.full((4,), -1))
    assert float(unlabelled) == float(d_loss(real, fake, logits, some, weight=0.0))


def test_far_out_nothing_overflows():
    """logsumexp of K equal logits c is c + log K."""
    far, label = torch.full((3, K), 1e4, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    assert float(d_loss(far, -far, far, label)) == pytest.approx(math.log(K))
    assert float(d_loss(-far, far, far, label)) == pytest.approx(2e4 + math.log(K))


# ---------------------------------------------------------------- what is learnt

X = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
INSIDE = torch.linspace(0.03, 0.97, 95)


def posterior(x: Tensor) -> Tensor:
    """p(class 1 | x)."""
    return 0.1 + 0.8 * (x - 0.5).abs()


class Ramps(nn.Module):
    """Reals of density p = 1/2 + x on [0, 1] and of two classes; latents, which G hands on, of q = 3/2 - x."""

    num_classes, batch_size = 2, 1024

    def _draw(self) -> Tensor:
        share = (torch.randperm(self.batch_size) + torch.rand(self.batch_size)) / self.batch_size
        return (torch.sqrt(0.25 + 2 * share) - 0.5)[:, None]

    def reals(self) -> tuple[Tensor, Tensor]:
        return self._draw(), torch.full((self.batch_size,), -1)

    def labelled(self) -> tuple[Tensor, Tensor]:
        image = self._draw()
        return image, (torch.rand(self.batch_size) < posterior(image[:, 0])).long()

    def latents(self) -> tuple[Tensor, Tensor]:
        return 1 - self._draw(), torch.full((self.batch_size,), -1)


class HandsOn(nn.Module):
    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return latent


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        return said(self.body(4 * image - 2))


def test_a_trained_d_knows_both_posteriors_and_the_divergence():
    """Both terms are at their least at once: D = p/(p+q) fixes Z(x), and p(y | x) the share of each class in it.

    Of labels there are 1 in 400 steps of 1,024, more than any x has neighbours: the classes are known to a few percent.
    """
    torch.manual_seed(0)
    source = Ramps()
    game = Game(HandsOn(), Net(), SemiSupervised(2), {}, source)
    d, steps = Player(game.nets["discriminator"].parameters(), partial(torch.optim.Adam, lr=0.01)), 600
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(d.optimizer, steps)
    for _ in range(steps):
        d.apply(d.grads(game.d_loss()[0]))
        rates.step()
    logits = game.nets["discriminator"](INSIDE[:, None], INSIDE).logits.detach()
    p, q = 0.5 + INSIDE, 1.5 - INSIDE
    assert (game.objective.realness(logits).sigmoid() - p / (p + q)).abs().max() < 0.04
    assert (game.objective.class_logits(logits).softmax(dim=1)[:, 1] - posterior(INSIDE)).abs().max() < 0.06
    source.batch_size = 2**15
    p, q = 0.5 + X, 1.5 - X
    known = float((p * (2 * p / (p + q)).log() + q * (2 * q / (p + q)).log()).mean()) / 2
    assert float(game.d_loss()[1]["divergence"]) == pytest.approx(known, rel=0.03)


# ---------------------------------------------------------------- in a game


class Brighter(Trick):
    def view(self, image: Tensor) -> Tensor:
        return image + 10


@pytest.mark.parametrize("needed", [False, True])
def test_labelled_reals_are_part_of_d_s_turn_where_they_are_needed(needed):
    """They are shown as D sees any image, through the tricks; in G's turn, and unasked for, there are none."""
    shown = Shown()
    shown.needs_labelled = needed
    source = Fixed(torch.tensor([[1.0], [2.0]]))
    if not needed:
        source.labelled = lambda: pytest.fail("nobody asked for labelled reals")
    game = Game(Scalar(0.0), Linear(torch.ones(1)), shown, {"brighter": Brighter()}, source)
    game.d_loss(), game.g_loss()
    assert shown.d_turn.labelled.tolist() == ([[11.0], [12.0]] if needed else [])
    assert shown.d_turn.labelled_class.tolist() == ([0, 0] if needed else [])
    assert (len(shown.g_turn.labelled), len(shown.g_turn.labelled_class)) == (0, 0)


def test_d_loss_of_a_game_counts_the_labels(compose):
    """`weight` times more of what the labelled reals cost."""
    losses = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        game = composed_game(compose, "objective=semi_supervised", f"objective.weight={weight}")
        game.source.prepare(1)
        assert game.nets["discriminator"].logits == game.source.num_classes == 2
        losses.append(float(game.d_loss()[0].detach()))
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)
    assert losses[1] - losses[0] == pytest.approx(math.log(2), abs=0.2)  # an untrained D does not know


def test_a_generator_that_is_told_the_class_learns_to_draw_it(compose):
    """Beside its features' distance, -E log p(y | G(z, y), y <= K) of the class asked for, times the weight."""
    told = ["objective=semi_supervised", "architecture.class_conditional=true", "objective.weight=3.0"]
    game = composed_game(compose, *told)
    assert game.nets["discriminator"].num_classes == 0, "D is to find the class out"
    (logits,) = random_logits(5)
    label = torch.tensor([3, 1, 0, 9, 9])
    shown = turn(logits + 1, logits, critic=lambda image, _: said(image), fake_label=label)
    share = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    asked = -share[torch.arange(5), label].log().mean()
    losses = {knows: float(SemiSupervised(K, knows, 3.0).g_loss(shown, said(logits))) for knows in (False, True)}
    assert losses[False] == pytest.approx(K)  # the means of the features lie 1 apart in each of K directions
    assert losses[True] == pytest.approx(K + 3 * float(asked))


# ---------------------------------------------------------------- refusals


def test_what_it_needs_is_said(compose):
    said = refusal(composed_game, compose, "objective=semi_supervised", images=points(10))
    needs = "objective semi_supervised needs a dataset with classes, and this one has none"
    assert said == f"{needs}: take another dataset or objective"


@pytest.mark.parametrize(
    "sentence, overrides",
    {
        "labels=8 needs a dataset with classes": ["dataset=folder", "labels=8"],
        "objective semi_supervised needs a dataset with classes": ["dataset=folder", "objective=semi_supervised"],
        "metric=[class_error] needs a dataset with classes": ["dataset=folder", "metric=[class_error]"],
        "labels=105 cannot be shared equally by 10 classes: give a multiple": ["labels=105"],
        "labels=5 cannot be shared equally by 10 classes": ["labels=5"],
        "labels=2000 asks for 200 examples of class 0, which has 160": ["labels=2000"],
        "discriminator that sorts examples: take objective=semi_supervised": ["metric=[class_error]"],
    }.items(),
    ids=str,
)
def test_refused_by_name(compose, tmp_path, sentence, overrides):
    save(tmp_path / "image.png")
    folder = [f"dataset.path={tmp_path}", "batch_size=1"] if "dataset=folder" in overrides else []
    assert sentence in refusal(Assembly, plain(compose(*overrides, *folder)))


def test_hidden_labels_reach_the_source_and_all_images_stay(compose):
    """The ten classes of the digits, two labels each, the same for the same seed."""
    labels = []
    for seed in (0, 0, 1):
        parts = Assembly(plain(compose("labels=20", f"seed={seed}", "objective=semi_supervised", "steps=1")))
        assert torch.bincount(parts.source.labels + 1).tolist() == [1617 - 20] + [2] * 10
        labels.append(parts.source.labels)
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])
    parts.prepare(1)
    parts.step()
