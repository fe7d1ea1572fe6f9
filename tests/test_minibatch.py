"""Tricks that show D its batch: what they add, by hand, and what D can tell by it."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from gantool.architectures import autoencoder, mlp, mlp_salimans2016
from gantool.game.networks import Discriminator
from gantool.game.surgery import append_features
from gantool.tricks.minibatch_discrimination import Closeness, MinibatchDiscrimination
from gantool.tricks.minibatch_stddev import MinibatchStddev, Spread
from toys import composed_game, points, refusal

BOTH = ["minibatch_discrimination", "minibatch_stddev"]


def rewritten(trick, discriminator: nn.Module) -> nn.Module:
    nets = nn.ModuleDict({"discriminator": discriminator})
    trick.rewrite(nets, None)
    return nets["discriminator"]


# ---------------------------------------------------------------- minibatch discrimination


def by_hand(tensor: list, features: list) -> Tensor:
    layer = Closeness(len(features[0]), len(tensor[0]), len(tensor[0][0]))
    layer.tensor.data = torch.tensor(tensor)
    return layer(torch.tensor(features)).detach()


def test_closeness_of_three_points_by_hand():
    """f = 0, 1, 3; T = [1, 2] (kernel 0), [0, 1] (kernel 1): |M_i - M_j|_1 is 3 |f_i - f_j| and |f_i - f_j|.

    o_b(x_i) = sum_j exp(-|M_ib - M_jb|_1), i itself among the j (Salimans et al. 2016, section 3.2).
    """
    e = math.exp
    expected = [
        [1 + e(-3) + e(-9), 1 + e(-1) + e(-3)],
        [e(-3) + 1 + e(-6), e(-1) + 1 + e(-2)],
        [e(-9) + e(-6) + 1, e(-3) + e(-2) + 1],
    ]
    found = by_hand([[[1.0, 2.0], [0.0, 1.0]]], [[0.0], [1.0], [3.0]])
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_a_kernel_measures_all_features_it_multiplies():
    """T has F x B x C numbers: here M_i = x_i0 - 2 x_i1, one kernel of one dimension; M = 1, -1 are 2 apart."""
    found = by_hand([[[1.0]], [[-2.0]]], [[1.0, 0.0], [1.0, 1.0]])
    assert torch.allclose(found, torch.full((2, 1), 1 + math.exp(-2)))


def test_a_collapsed_batch_is_the_closest_there_is():
    """All equal: o_b = N, its largest value. The further apart, the smaller; alone in the world, 1."""
    torch.manual_seed(0)
    layer, features = Closeness(4, 6, 3), torch.randn(10, 4)
    sizes = [layer(spread * features).detach() for spread in (0.0, 0.1, 1.0, 1e6)]
    assert torch.equal(sizes[0], torch.full((10, 6), 10.0))
    assert all((wider < closer).all() for closer, wider in zip(sizes, sizes[1:], strict=False))
    assert torch.equal(sizes[-1], torch.ones(10, 6))


def accuracy(trick) -> float:
    """D on single reals of N(0, 1) and on batches of one such number 16 times, share told apart after 150 steps."""
    torch.manual_seed(0)
    discriminator = mlp.Discriminator((1,), hidden=[16])
    if trick:
        discriminator = rewritten(trick, discriminator)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.02)
    nobody = torch.full((16,), -1)
    right = []
    for _ in range(190):
        real, fake = torch.randn(16, 1), torch.randn(1, 1).expand(16, 1)
        on_real, on_fake = (discriminator(batch, nobody).logits for batch in (real, fake))
        right.append(float((on_real > 0).float().mean() + (on_fake < 0).float().mean()) / 2)
        loss = nn.functional.softplus(-on_real).mean() + nn.functional.softplus(on_fake).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return sum(right[-40:]) / 40


def test_d_tells_a_collapsed_batch_from_a_varied_one():
    """Every fake by itself is distributed as a real, so D can be right in half of the cases; with its batch, in all."""
    assert 0.4 < accuracy(None) < 0.6
    assert accuracy(MinibatchDiscrimination(5, 3)) > 0.95
    assert accuracy(MinibatchStddev(4)) > 0.95


def test_closeness_pushes_examples_apart():
    """Two examples d apart: o = 1 + exp(-|t| d), whose slope by the upper one is -|t| exp(-|t| d)."""
    layer = Closeness(1, 1, 1)
    layer.tensor.data.fill_(-2.0)
    features = torch.tensor([[0.5], [0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(layer(features)[0].sum(), features)
    assert torch.allclose(slope, 2 * math.exp(-1) * torch.tensor([[-1.0], [1.0]]))


# ---------------------------------------------------------------- minibatch standard deviation


def test_spread_by_hand():
    """Groups of two; deviations over each are (1, 0) and (2, 3), whose means are 1/2 and 5/2 (Karras et al. 2018)."""
    features = torch.tensor([[0.0, 7.0], [2.0, 7.0], [1.0, 0.0], [5.0, 6.0]])
    assert torch.allclose(Spread(2)(features), torch.tensor([[0.5], [0.5], [2.5], [2.5]]), atol=1e-3)


@pytest.mark.parametrize("n, group", [(6, 4), (3, 4), (5, 5), (2, 4)])
def test_a_batch_that_does_not_divide_is_one_group(n, group):
    """1, ..., n has the variance (n^2 - 1) / 12."""
    found = Spread(group)(torch.arange(1.0, n + 1)[:, None])
    assert torch.allclose(found, torch.full((n, 1), math.sqrt((n**2 - 1) / 12)), atol=1e-4)


def test_spread_of_a_collapsed_batch_is_next_to_nothing_and_has_a_slope():
    features = torch.full((4, 3), 2.0, requires_grad=True)
    spread = Spread(4)(features)
    assert torch.allclose(spread, torch.full((4, 1), 1e-4))  # the square root of the 1e-8 that keeps the slope finite
    (slope,) = torch.autograd.grad(spread.sum(), features)
    assert torch.isfinite(slope).all()


def test_a_group_of_one_is_refused(compose):
    sentence = refusal(composed_game, compose, "trick=[minibatch_stddev]", "trick.minibatch_stddev.group=1")
    assert "trick.minibatch_stddev: group: one example has no deviation" in sentence


# ---------------------------------------------------------------- surgery


def bare_and_widened(discriminator: Discriminator) -> tuple[Discriminator, Discriminator]:
    bare = copy.deepcopy(discriminator).eval()
    append_features(discriminator, Spread(4), 1)
    return bare, discriminator.eval()


@pytest.mark.parametrize("net", [mlp.Discriminator, mlp_salimans2016.Discriminator])
def test_the_head_keeps_its_weights_for_the_old_features(net):
    """Logits are the old ones plus a linear map of what is new, also of a head that is more than a matrix."""
    torch.manual_seed(0)
    bare, widened = bare_and_widened(net((1, 4, 4), logits=3, hidden=[8, 5]))
    image, nobody = torch.randn(8, 1, 4, 4), torch.full((8,), -1)
    old, new = bare(image, nobody), widened(image, nobody)
    assert widened.num_features == 6
    assert torch.equal(new.features, torch.cat([old.features, Spread(4)(old.features)], dim=1))
    assert torch.allclose(new.logits, old.logits + new.features[:, 5:] @ widened.head.more.weight.T, atol=1e-6)
    assert not torch.allclose(new.logits, old.logits, atol=1e-3)


def test_projection_compares_the_class_with_the_new_features_too(compose):
    told = ("architecture.class_conditional=true", "architecture.projection=true", "trick=[minibatch_discrimination]")
    torch.manual_seed(0)
    discriminator = composed_game(compose, *told).nets["discriminator"]
    image, label = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 1, 0])
    unlabelled, labelled = discriminator(image, torch.full((4,), -1)), discriminator(image, label)
    assert labelled.features.shape == (4, 256 + 100)
    likeness = (discriminator.projection.weight.T[label] * labelled.features).sum(dim=1, keepdim=True)
    assert torch.allclose(labelled.logits, unlabelled.logits + likeness, atol=1e-5)


@pytest.mark.parametrize("first, second", [BOTH, BOTH[::-1]])
def test_the_second_trick_measures_what_the_first_added(compose, first, second):
    torch.manual_seed(0)
    discriminator = composed_game(compose, f"trick=[{first},{second}]").nets["discriminator"]
    features = discriminator(torch.randn(8, 1, 8, 8), torch.full((8,), -1)).features
    assert features.shape == (8, discriminator.num_features) == (8, 256 + 100 + 1)
    before = features[:, : 256 + (100 if first == BOTH[0] else 1)]
    assert torch.allclose(discriminator.trunk.layer(before), features[:, before.shape[1] :])


@pytest.mark.parametrize("trick", BOTH)
def test_all_of_it_learns_and_g_is_told(compose, trick):
    torch.manual_seed(0)
    game = composed_game(compose, f"trick=[{trick}]", images=points(10))
    weights = [*game.nets["discriminator"].parameters()]
    assert all(slope.abs().max() > 0 for slope in torch.autograd.grad(game.d_loss()[0], weights))
    for _ in range(2):
        slopes = torch.autograd.grad(game.g_loss()[0], [*game.nets["generator"].parameters()])
        assert all(slope.abs().max() > 0 for slope in slopes)


@pytest.mark.parametrize("trick", [MinibatchDiscrimination(), MinibatchStddev()])
def test_a_d_without_such_a_head_is_refused(trick):
    sentence = refusal(rewritten, trick, autoencoder.Discriminator((2,)))
    assert "adds to what the last layer of D sees, and this D has no such layer" in sentence
