"""Test examples in the wrong class, against confusion matrices by hand and all permutations."""

from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gantool.engine.deploy import Deployed
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.types import Images, Verdict
from gantool.metrics.class_error import ClassError, confusion
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.semi_supervised import SemiSupervised
from gantool.priors.normal import Normal
from toys import Fixed, Scalar


def measured(found: list[int], label: list[int], classes: int, matched: bool = False) -> tuple[float, float]:
    """Where D puts example i in class found[i]."""
    names, asked = tuple(map(str, range(classes))), []
    data = Images(torch.arange(len(label), dtype=torch.float32)[:, None], torch.tensor(label), names)
    dataset = SimpleNamespace(names=names, load=lambda split: asked.append(split) or data)
    logits = torch.eye(classes)[torch.tensor(found)]
    trained = SimpleNamespace(class_logits=lambda images: logits[images[:, 0].long()])
    result = ClassError(matched)(trained, dataset)
    assert asked == ["test"]
    assert list(result) == ["class_error", "class_errors"]
    return result["class_error"], result["class_errors"]


FOUND = [0, 0, 1, 1, 1, 2, 2, 0]
LABEL = [0, 1, 1, 1, 0, 2, 0, 1]


def test_confusion_by_hand():
    assert confusion(torch.tensor(FOUND), torch.tensor(LABEL), 4).tolist() == [
        [1, 2, 0, 0],  # found 0: one of class 0, two of class 1
        [1, 2, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_errors_by_hand():
    """Right are the examples 0, 2, 3 and 5."""
    assert measured(FOUND, LABEL, 3) == (4 / 8, 4)
    assert measured(LABEL, LABEL, 3) == (0, 0)
    assert measured(FOUND, LABEL, 3, matched=True) == (4 / 8, 4)


def test_matched_values_have_no_names():
    """A code that says 1 for class 0, 2 for 1, 0 for 2 makes no errors when it is matched, and only errors when not."""
    renamed = [(y + 1) % 3 for y in LABEL]
    assert measured(renamed, LABEL, 3) == (1, 8)
    assert measured(renamed, LABEL, 3, matched=True) == (0, 0)


def test_matching_is_one_to_one():
    """One value for everything gets one class, however many go well with it: 4 of 8 are right, not all."""
    assert measured([1] * 8, LABEL, 3, matched=True) == (4 / 8, 4)


@pytest.mark.parametrize("seed", range(5))
def test_matched_is_the_best_of_all_namings(seed):
    torch.manual_seed(seed)
    found, label = (torch.randint(5, (60,)).tolist() for _ in range(2))
    best = max(sum(names[a] == b for a, b in zip(found, label, strict=True)) for names in permutations(range(5)))
    assert measured(found, label, 5, matched=True)[1] == 60 - best


def test_refusals():
    names = tuple("abc")
    asked: list[str] = []
    ClassError().check(SimpleNamespace(names=names, load=asked.append), SemiSupervised(3))
    assert asked == ["test"]  # there is one
    for data, objective, sentence in (
        ((), SemiSupervised(3), "needs a dataset with classes"),
        (names, NonSaturating(), "needs a discriminator that sorts examples: take objective=semi_supervised"),
        (names, SemiSupervised(4), "compares 4 values of a code with 3 classes"),
    ):
        with pytest.raises(UsageError, match=sentence):
            ClassError().check(SimpleNamespace(names=data), objective)


class Noisy(nn.Module):
    """A D that is another one in train mode, and remembers the labels that it was told."""

    def __init__(self):
        super().__init__()
        self.linear, self.told = nn.Linear(2, 3), []

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        self.told.append(label)
        logits = self.linear(image) + (torch.randn(3) if self.training else 0)
        return Verdict(logits, image)


def test_d_sorts_in_eval_mode_untold_and_without_a_trace():
    torch.manual_seed(0)
    game = Game(Scalar(1.0), Noisy(), SemiSupervised(3), {}, Fixed(torch.ones(2, 2)))
    images, rng = torch.randn(7, 2), torch.get_rng_state()
    found = Deployed(game, Normal(), 1, [], batch_size=3).seeded(0).class_logits(images)
    net = game.nets["discriminator"]
    assert torch.allclose(found, net.linear(images), atol=1e-6) and not found.requires_grad
    assert torch.cat(net.told).tolist() == [-1] * 8  # in twos, as in training: nobody says that it compares none
    assert net.training and torch.equal(rng, torch.get_rng_state())
    game = Game(Scalar(1.0), Noisy(), NonSaturating(), {}, Fixed(torch.ones(2, 2)))
    assert Deployed(game, Normal(), 1, []).class_logits(images) is None


class Crowd(nn.Module):
    """A D whose verdict on an example is its batch: its size, and how many of each kind are in it."""

    by_example = False

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        kinds = image[:, :1].mean().expand(len(image), 1)
        return Verdict(torch.cat([image[:, :1], torch.full_like(kinds, len(image)), kinds], dim=1), image)


def test_d_that_compares_examples_sees_them_as_in_training():
    """Trap: 256 at a time, and sorted by class as a test split may be. Each answer goes with its image."""
    game = Game(Scalar(1.0), Crowd(), SemiSupervised(3), {}, Fixed(torch.ones(8, 2)))
    images = torch.arange(20.0)[:, None].expand(20, 2)
    deployed = Deployed(game, Normal(), 1, [])
    found = deployed.seeded(0).class_logits(images)
    assert found[:, 0].tolist() == list(range(20))
    assert set(found[:, 1].tolist()) == {8.0}, "the last batch is filled up"
    assert len(found[:, 2].unique()) == 3
    assert all(4 < mean < 15 for mean in found[:, 2].tolist()), "mixed, not in the order of the split"
    assert torch.equal(found, deployed.seeded(1).class_logits(images))
    few = deployed.seeded(0).class_logits(images[:5])
    assert few[:, 0].tolist() == list(range(5)) and set(few[:, 1].tolist()) == {5.0}
