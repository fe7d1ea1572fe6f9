"""Hidden layers of D, and a linear classifier on them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gantool.engine.deploy import Deployed
from gantool.game.images import to_float
from gantool.game.types import Images
from gantool.metrics.probe import Probe, accuracy, pooled
from gantool.objectives.mmd import MomentMatching
from gantool.objectives.non_saturating import NonSaturating
from gantool.priors.normal import Normal
from toys import composed_game, pictures, points, refusal

LAYERS = {  # architecture -> where in its trunk each hidden layer ends
    "mlp": (["architecture=mlp", "architecture.discriminator.normalization=batch"], [4, 7]),
    "maxout": (["architecture=mlp_maxout"], [4, 6]),
    "dcgan": (["architecture=dcgan"], [2]),
    "deep": (["architecture=dcgan", "dataset.resolution=16"], [2, 5]),
    "virtual": (
        [
            "architecture=dcgan",
            "dataset.resolution=16",
            "trick=[virtual_batch_norm]",
            "trick.virtual_batch_norm.player=discriminator",
        ],
        None,
    ),
    "encoder": (["architecture=autoencoder", "objective=began"], [2, 4, 6]),
    "of points": (["dataset=ring", "architecture=mlp"], [3, 5]),
    "normalised": (["architecture=mlp", "trick=[spectral_norm,discriminator_noise]"], [3, 5]),
}


@pytest.mark.parametrize(("overrides", "ends"), LAYERS.values(), ids=LAYERS)
def test_hidden_layers_are_those_of_the_trunk(compose, overrides, ends):
    """Evaluated in eval mode, a batch at a time, without a trace; the last is what the head sees."""
    side = 16 if "dataset.resolution=16" in overrides else 8
    images = points(10) if "dataset=ring" in overrides else pictures(10, (1, side, side))
    game = composed_game(compose, *overrides, images=images)
    net, shown = game.nets["discriminator"], to_float(images.pixels)
    net(shown, torch.full((10,), -1))  # running means that are not the first
    rng = torch.get_rng_state()
    found = Deployed(game, Normal(), 8, [], batch_size=4).seeded(0).hidden(shown)
    assert net.training and torch.equal(rng, torch.get_rng_state())
    assert not any(layer._forward_pre_hooks for layer in net.trunk.modules() if isinstance(layer, torch.nn.Flatten))
    net.eval()
    with torch.no_grad():
        features = net(shown, torch.full((10,), -1)).features
        expected = [net.trunk[:end](shown) for end in ends] if ends else found[:-1] + [features.view_as(found[-1])]
    if "autoencoder" in overrides[0]:
        expected.append(features)
    assert [len(layer) for layer in found] == [10] * len(found)  # and none of a reference batch
    assert [layer.shape for layer in found] == [layer.shape for layer in expected]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    assert torch.allclose(found[-1].flatten(1), features, atol=1e-5)


def test_layers_after_a_minibatch_trick_are_those_of_batches_as_in_training(compose):
    """In fours, whatever the size at which metrics draw; and each image keeps its own numbers."""
    game = composed_game(compose, "architecture=mlp", "trick=[minibatch_stddev]")
    shown = to_float(pictures(10).pixels)
    found = Deployed(game, Normal(), 8, [], batch_size=256).seeded(0).hidden(shown)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    net = game.nets["discriminator"].eval()
    with torch.no_grad():
        features = net(shown[order[:4]], torch.full((4,), -1)).features
    assert torch.allclose(found[-1][order[:4]], features[:, : found[-1].shape[1]], atol=1e-6)
    assert all(len(layer) == 10 for layer in found)


def test_a_trunk_without_weights_hides_nothing(compose):
    game = composed_game(compose, "architecture.discriminator.hidden=[]")
    hidden = Deployed(game, Normal(), 8, []).seeded(0).hidden(torch.zeros(3, 1, 8, 8))
    assert hidden == []
    assert "this one has none" in refusal(pooled, hidden)


def test_maps_are_pooled_to_four_by_four_by_their_largest():
    """64 numbers of one channel: a 2 x 2 block's largest is its last. A smaller map and a vector stay."""
    large = torch.arange(64.0).view(1, 1, 8, 8)
    found = pooled([large, torch.ones(1, 2, 3, 3), torch.tensor([[7.0, 8.0]])])
    assert found.shape == (1, 16 + 18 + 2)
    assert found[0, :5].tolist() == [9, 11, 13, 15, 25]
    assert found[0, -2:].tolist() == [7, 8]


def separable(n: int, seed: int) -> Images:
    """Points whose class, of 3, is the largest of the first three numbers, by half at least; the others are larger."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(n, 6, generator=generator)
    numbers[torch.arange(n), torch.arange(n) % 3] = numbers[:, :3].amax(dim=1) + 0.5
    numbers[:, :3] *= 1e-4  # the SVM's cost is too low for numbers so small, unless each is in its own units
    return Images(numbers, torch.arange(n) % 3, tuple("abc"))


DATA = SimpleNamespace(names=tuple("abc"), load=lambda split: separable(*{"train": (900, 0), "test": (300, 1)}[split]))


def probed(hidden, labels) -> tuple[dict[str, float], Probe, list[int]]:
    metric, asked = Probe(labels), []
    metric.check(DATA, NonSaturating())

    def shown(images: Tensor) -> list[Tensor]:
        asked.append(len(images))
        return hidden(images)

    return metric(SimpleNamespace(hidden=shown), DATA), metric, asked


def test_linear_classes_are_found_and_more_labels_help():
    found, metric, asked = probed(lambda images: [images[:, :2], images[:, 2:]], [9, 90, None])
    assert tuple(found) == metric.columns == ("probe_9", "probe_90", "probe_all")
    assert asked == [300, 9, 90, 900]  # features of the test split once
    assert found["probe_9"] < found["probe_90"] < found["probe_all"]
    assert found["probe_all"] > 0.97
    assert metric.facts()["numbers"] == 6


def test_one_label_a_class_is_enough_to_separate_what_lies_far_apart():
    """Nothing is left to choose the cost by."""
    features, label = torch.tensor([[-5.0], [5.0]]).double(), torch.tensor([0, 1])
    tested = torch.tensor([[-6.0], [-3.0], [4.0], [9.0]]).double()
    assert accuracy(features, label, tested, torch.tensor([0, 0, 1, 1])) == 1


def test_what_is_not_in_the_layers_is_not_found():
    """Of three classes as frequent as each other, chance finds a third; 300 examples scatter by 0.03."""
    found, *_ = probed(lambda images: [images[:, 3:]], [300])
    assert found["probe_300"] == pytest.approx(1 / 3, abs=0.1)


def test_a_line_cannot_tell_the_inside_of_a_circle():
    """It is linear: |x| < 1.2 in the plane is not, unless the layer holds |x|^2."""
    plane = torch.randn(1200, 2, generator=torch.Generator().manual_seed(0))
    label = (plane.norm(dim=1) < 1.2).long()
    split = [plane[:800], label[:800], plane[800:], label[800:]]
    assert accuracy(*split) < 0.7
    squares = [torch.cat([each, each**2], dim=1) if each.dim() == 2 else each for each in split]
    assert accuracy(*squares) > 0.95


def test_refusals():
    assert "needs a dataset with classes" in refusal(Probe().check, SimpleNamespace(names=()), NonSaturating())
    assert "this objective has none: drop it" in refusal(Probe().check, DATA, MomentMatching())
    unequal, scarce = (refusal(Probe([labels]).check, DATA, NonSaturating()) for labels in (10, 3000))
    assert unequal == "metric.probe.labels=10 cannot be shared equally by 3 classes: give a multiple"
    assert scarce.startswith("metric.probe.labels=3000 asks for 1000 examples")  # not `labels`, a key of the run
