"""AC-GAN: losses by hand, who is told the class, and what a D that is trained alone then knows."""

import math

import pytest
import torch
from torch import Tensor

from gantool.game.losses import class_accuracy, class_entropy
from gantool.game.types import Verdict
from gantool.objectives.auxiliary_classifier import AuxiliaryClassifier
from gantool.objectives.hinge import Hinge
from gantool.objectives.non_saturating import NonSaturating
from test_info import BASES, based
from toys import composed_game, refusal, turn

TOLD = "architecture.class_conditional=true"


def said(*rows: list[float]) -> Verdict:
    logits = torch.tensor(rows, dtype=torch.float64)
    return Verdict(logits, logits)


def test_losses_by_hand():
    """Odena et al. 2017, equations 2 and 3, as losses, over hinge: three reals, three fakes, two classes.

    D says 2, 0, -1 of the reals and -2, 0, 1 of the fakes; of the classes it is undecided but once: logits (log 3, 0),
    so p(0) = 3/4. Hinge: mean relu(1 - (2, 0, -1)) + mean relu(1 + (-2, 0, 1)) = 1 + 1; G: -mean(-2, 0, 1) = 1/3.
    """
    sure = math.log(3)
    real, fake = said([2, 0, 0], [0, sure, 0], [-1, 0, 0]), said([-2, 0, 0], [0, 0, 0], [1, sure, 0])
    labels = {"label": torch.tensor([0, 1, 1]), "fake_label": torch.tensor([1, 0, 0])}
    shown = turn(real.logits, fake.logits, **labels)
    of_reals, of_fakes = (2 * math.log(2) + math.log(4)) / 3, (2 * math.log(2) + math.log(4 / 3)) / 3
    objective = AuxiliaryClassifier(Hinge(), num_classes=2, weight=0.5)
    assert float(objective.d_loss(shown, real, fake)) == pytest.approx(2 + 0.5 * (of_reals + of_fakes))
    assert float(objective.g_loss(shown, fake)) == pytest.approx(1 / 3 + 0.5 * of_fakes)
    assert objective.class_logits(real.logits).tolist() == real.logits[:, 1:].tolist()


def test_examples_without_a_class_count_in_the_base_only():
    logits = torch.tensor([[0.0, 5.0], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    known = class_entropy(logits, torch.tensor([1, -1, -1]))
    assert float(known) == pytest.approx(math.log1p(math.exp(-5)))
    slope = torch.autograd.grad(known, logits)[0]
    assert (slope[1:] == 0).all() and (slope[0] != 0).all()
    nobody = torch.full((3,), -1)
    assert float(class_entropy(logits, nobody)) == 0 and float(class_accuracy(logits, nobody)) == 0
    assert float(class_accuracy(logits, torch.tensor([1, 1, -1]))) == 0.5


def test_trained_alone_d_knows_the_class_and_the_ratio():
    """On four points: p(x, y) and q(x, y) as frequencies of draws. D's best logit is log p(x)/q(x), and its class that
    of the mean of both, (p(y, x) + q(y, x)) / (p(x) + q(x)), since it learns from reals and fakes alike.
    """
    p = torch.tensor([[3, 1], [2, 2], [1, 3], [1, 3]], dtype=torch.float64) / 16  # (points, classes)
    q = torch.tensor([[1, 1], [1, 3], [4, 2], [3, 1]], dtype=torch.float64) / 16
    objective, table = (
        AuxiliaryClassifier(NonSaturating(), 2),
        torch.zeros(4, 3, dtype=torch.float64, requires_grad=True),
    )

    def draws(share: Tensor) -> tuple[Tensor, Tensor]:
        """(points, labels) in exactly these frequencies."""
        cells = torch.arange(8).repeat_interleave((16 * share).long().flatten())
        return cells // 2, cells % 2

    (real, label), (fake, fake_label) = draws(p), draws(q)

    def loss() -> Tensor:
        solver.zero_grad()
        on_real, on_fake = (Verdict(table[at], table[at]) for at in (real, fake))
        value = objective.d_loss(turn(table[real], table[fake], label=label, fake_label=fake_label), on_real, on_fake)
        value.backward()
        return value

    solver = torch.optim.LBFGS(
        [table], max_iter=300, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    solver.step(loss)
    assert torch.allclose(table[:, 0].detach(), (p.sum(dim=1) / q.sum(dim=1)).log(), atol=1e-4)
    assert torch.allclose(
        torch.softmax(table[:, 1:].detach(), dim=1), (p + q) / (p + q).sum(dim=1, keepdim=True), atol=1e-4
    )


@pytest.mark.parametrize("base", BASES)
def test_over_every_base_g_is_told_the_class_and_d_is_not(compose, base):
    torch.manual_seed(0)
    game = based(compose, "auxiliary_classifier", base, TOLD)
    assert (game.nets["generator"].num_classes, game.nets["discriminator"].num_classes) == (2, 0)
    assert game.nets["discriminator"].logits == game.objective.base.logits + 2
    stats = game.d_loss()[1] | game.g_loss()[1]
    known = {"convergence"} if base == "began" else {"divergence"}
    assert {"class_accuracy_real", "class_accuracy_fake"} | known <= set(stats)
    assert all(torch.isfinite(value) for value in stats.values())


def test_a_base_without_features_is_refused_by_name(compose):
    for outer in ("auxiliary_classifier", "info", "feature_matching"):
        sentence = refusal(composed_game, compose, f"objective={outer}", "objective@objective.base=mmd", TOLD)
        assert "take another base" in sentence and "\n" not in sentence


def test_ways_in_which_it_makes_no_sense(compose):
    alone = ["objective=auxiliary_classifier"]
    assert "set architecture.class_conditional=true" in refusal(composed_game, compose, *alone)
    projected = [*alone, TOLD, "architecture.projection=true"]
    assert "hides the class" in refusal(composed_game, compose, *projected)
