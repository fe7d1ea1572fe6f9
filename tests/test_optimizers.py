"""Optimiser pairs, as the command line composes them: each player has its own rule, rate and schedule."""

import copy
from functools import partial

import pytest
import torch

from gantool.commands.assembly import Assembly
from gantool.config.build import Builder
from gantool.errors import UsageError
from gantool.game.player import Player
from toys import composed_game, plain, weights

PAIRS = {  # (kind, settings) of G and of D, from the papers that the YAML names
    "adam": [("Adam", {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 0.0})] * 2,
    "adamw": [("AdamW", {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 0.01})] * 2,
    "ttur": [("Adam", {"lr": 1e-4, "betas": (0.0, 0.9)}), ("Adam", {"lr": 3e-4, "betas": (0.0, 0.9)})],
    "adam_sgd": [("Adam", {"lr": 2e-4, "betas": (0.5, 0.999)}), ("SGD", {"lr": 0.1, "momentum": 0.5})],
}


def players(compose, *overrides: str):
    """(G, D), the networks' weights before, and their gradients at hand."""
    torch.manual_seed(0)
    game = composed_game(compose, *overrides)
    d, g = Builder((), 100).players(game, plain(compose(*overrides))["optimizer"])
    return g, d


@pytest.mark.parametrize("name", PAIRS)
def test_each_player_gets_its_own(compose, name):
    for player, (kind, settings) in zip(players(compose, f"optimizer={name}"), PAIRS[name], strict=True):
        (group,) = player.optimizer.param_groups
        assert type(player.optimizer).__name__ == kind
        assert {key: group[key] for key in settings} == settings


@pytest.mark.parametrize("name", PAIRS)
def test_a_first_step_is_that_of_the_rule(compose, name):
    """From gradients of 2 everywhere: Adam moves by lr, its corrected means being 2 and 4 (Kingma and Ba 2014,
    algorithm 1); AdamW first takes the share lr * weight_decay away (Loshchilov and Hutter 2019, algorithm 2); SGD
    moves by 2 lr, its momentum being empty."""
    for player, (kind, settings) in zip(players(compose, f"optimizer={name}"), PAIRS[name], strict=True):
        before, lr = player.weights(), settings["lr"]
        player.apply([torch.full_like(weight, 2.0) for weight in before])
        kept = 1 - lr * settings["weight_decay"] if kind == "AdamW" else 1
        for old, new in zip(before, player.weights(), strict=True):
            torch.testing.assert_close(new, kept * old - (2 * lr if kind == "SGD" else lr), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("scheduled", ["generator", "discriminator"])
def test_a_schedule_slows_its_own_player(compose, name, scheduled):
    """Linear to 0 over ten rounds; after five, its step is half as long as without."""
    falling = [f"optimizer.{scheduled}.schedule.{key}" for key in ("kind=linear", "end=10")]
    pairs = zip(players(compose, f"optimizer={name}"), players(compose, f"optimizer={name}", *falling), strict=True)
    for which, (steady, slowed) in zip(("generator", "discriminator"), pairs, strict=True):
        for player in (steady, slowed):
            player.clock.now.fill_(5)
        moved = []
        for player in (steady, slowed):
            before = player.weights()
            player.apply([torch.ones_like(weight) for weight in before])
            moved.append(sum((new - old).double().sum() for old, new in zip(before, player.weights(), strict=True)))
        assert float(moved[1] / moved[0]) == pytest.approx(0.5 if which == scheduled else 1.0, rel=1e-2)


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_of_the_game_moves_both(compose, name):
    overrides = (f"optimizer={name}",)
    torch.manual_seed(0)
    game = composed_game(compose, *overrides)
    builder = Builder((), 100)
    config = plain(compose(*overrides))
    d, g = builder.players(game, config["optimizer"])
    before = weights(game.nets)
    game.source.prepare(1)
    stats = builder.make("update", config["update"])(game, d, g)
    moved = [not torch.equal(old, new) for old, new in zip(before, weights(game.nets), strict=True)]
    assert all(moved)
    assert stats["d_grad_norm"] > 0
    assert stats["g_grad_norm"] > 0


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (4, 3, 2, 2)], ids=str)
def test_a_gradient_that_lies_otherwise_in_memory_moves_the_same_weights(rule, shape):
    """torch's fused optimisers on the CPU take a transpose for what it is not (2.7 to 2.14); its plain ones do not."""
    ends = []
    for ours in (True, False):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(shape))
        player = Player([weight], partial(rule, lr=0.1))
        plain_rule = rule([weight], lr=0.1, foreach=False, fused=False)
        for _ in range(3):
            grad = torch.randn(shape[::-1]).permute(*range(len(shape))[::-1])
            if ours:
                player.apply([grad])
            else:
                weight.grad = grad
                plain_rule.step()
        ends.append(weight.detach())
    assert torch.allclose(*ends, atol=1e-6)


@pytest.mark.parametrize("way", ["foreach", "differentiable", "fused"])
def test_a_way_of_stepping_that_is_asked_for_is_taken(way):
    """torch refuses two of them at once. The first step of Adam is lr, whatever the gradient."""
    weight = torch.nn.Parameter(torch.zeros(3))
    player = Player([weight], partial(torch.optim.Adam, lr=0.1, **{way: True}))
    player.apply([torch.tensor([1.0, -2.0, 4.0])])
    (group,) = player.optimizer.param_groups
    assert [name for name in ("foreach", "differentiable", "fused") if group[name]] == [way]
    assert torch.allclose(weight, torch.tensor([-0.1, 0.1, -0.1]))


@pytest.mark.parametrize("asked", [{"foreach": True, "fused": True}, {"foreach": "maybe"}])
def test_two_ways_of_stepping_or_none_that_is_true_are_refused(asked):
    with pytest.raises(UsageError, match="let one of fused, foreach and differentiable be true"):
        Player([torch.nn.Parameter(torch.zeros(3))], partial(torch.optim.Adam, lr=0.1, **asked))


def test_a_penalised_convolution_moves_as_its_gradients_say(compose):
    """Its weights lie channels last, their gradients through a penalty do not. One step of SGD is -lr times each."""
    small = [f"architecture.{player}.features=4" for player in ("generator", "discriminator")]
    data = ("dataset=shapes", "dataset.size=64", "dataset.resolution=16", "dataset.channels=3", "batch_size=8")
    torch.manual_seed(0)
    parts = Assembly(
        plain(
            compose(
                "device=cpu", "precision=fp32", "architecture=dcgan", "trick=[gradient_penalty]", "optimizer=sgd",
                *data, *small,
            )
        )
    )  # fmt: skip
    parts.prepare(1)
    before, grads = parts.d.weights(), parts.d.grads(parts.game.d_loss()[0])
    expected = [weight - 0.1 * grad for weight, grad in zip(before, grads, strict=True)]
    parts.d.apply(grads)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(parts.d.weights(), expected, strict=True))


@pytest.mark.parametrize("rule", [partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam])
def test_moments_that_lay_otherwise_are_the_same_moments(rule):
    """Saved where weights lie row by row, loaded where they lie channels last: the next step is the same."""
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(4, 3, 2, 2)) for _ in range(2)]
        saved, loaded = (Player([weight], partial(rule, lr=0.1)) for weight in weights)
        saved.apply([torch.randn(4, 3, 2, 2)])
        weights[1].data = weights[0].detach().clone(memory_format=layout)
        loaded.load_state_dict(copy.deepcopy(saved.state_dict()))
        loaded.apply([torch.randn(4, 3, 2, 2)])
        ends.append(weights[1].detach())
    assert torch.allclose(*ends, atol=1e-6)
