"""Who moves, when, and through which weights; on the game V(x, y) = x y, whose paths are known."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.hooks import Objective, Trick
from gantool.game.updates import Alternating, Optimistic, Player, Simultaneous, Unrolled, after_d, after_g, move
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.wasserstein import Wasserstein
from toys import Bilinear, Fixed, Linear, Scalar, bilinear, players, same, verdict, weights, where


class Counting(Trick):
    """What happened, in order."""

    def __init__(self):
        super().__init__()
        self.log: list[str] = []

    def after_d(self, nets: nn.ModuleDict) -> None:
        assert not torch.is_grad_enabled()
        self.log.append("d")

    def after_g(self, nets: nn.ModuleDict) -> None:
        assert not torch.is_grad_enabled()
        self.log.append("g")


# ---------------------------------------------------------------- the rules


def test_simultaneous_descent_spirals_out():
    """(x, y) -> (x - lr y, y + lr x): a rotation that grows by sqrt(1 + lr^2) a step; both see the old weights."""
    lr, game = 0.2, bilinear(1.0, 0.5)
    d, g = players(game, lr)
    x, y = where(game)
    for step in range(1, 31):
        Simultaneous()(game, d, g)
        x, y = x - lr * y, y + lr * x
        assert where(game) == pytest.approx((x, y), rel=1e-4, abs=1e-5)
        assert math.hypot(*where(game)) == pytest.approx(math.hypot(1.0, 0.5) * (1 + lr**2) ** (step / 2), rel=1e-5)


def test_alternating_descent_goes_round_and_round():
    """D first, then G against the new D: x^2 + y^2 + lr x y never changes."""
    lr, game = 0.2, bilinear(1.0, 0.5)
    d, g = players(game, lr)
    x, y = where(game)
    invariant = x**2 + y**2 + lr * x * y
    for _ in range(100):
        Alternating()(game, d, g)
        y += lr * x
        x -= lr * y
        assert where(game) == pytest.approx((x, y), rel=1e-3, abs=1e-4)
        assert x**2 + y**2 + lr * x * y == pytest.approx(invariant)


def test_k_steps_of_d_then_m_of_g():
    game = bilinear(1.0, 0.5, {"count": Counting()})
    d, g = players(game, lr=0.1)
    Alternating(3, 2)(game, d, g)
    assert game.tricks["count"].log == ["d", "d", "d", "g", "g"]
    assert (int(d.clock.now), int(g.clock.now)) == (1, 1)  # schedules count rounds
    y = 0.5 + 3 * 0.1 * 1.0  # three steps along x = 1
    assert where(game) == pytest.approx((1.0 - 2 * 0.1 * y, y))


@pytest.mark.parametrize(("k", "m"), [(1, 1), (3, 1), (1, 2)])
def test_shared_fakes_are_those_of_the_last_d_step_and_the_first_g_step(k, m):
    """G makes one batch less; the gradients are those at the weights as they are, so G's first step sees the new D."""
    made: list[Tensor] = []
    seen: dict[str, list[Tensor]] = {"d": [], "g": []}
    torch.manual_seed(0)
    game = small(NonSaturating)
    generator = game.nets["generator"]
    generator.register_forward_hook(lambda net, given, image: made.append(image.detach().clone()))
    d_loss, g_loss = game.objective.d_loss, game.objective.g_loss
    game.objective.d_loss = lambda turn, *verdicts: (seen["d"].append(turn.fake), d_loss(turn, *verdicts))[1]
    game.objective.g_loss = lambda turn, *verdicts: (seen["g"].append(turn.fake), g_loss(turn, *verdicts))[1]
    before = weights(generator)
    Alternating(k, m, shared_fakes=True)(game, *players(game, 0.1))
    assert len(made) == k + m - 1
    assert [torch.equal(fake, image) for fake, image in zip(seen["d"], made, strict=False)] == [True] * k
    assert torch.equal(seen["g"][0], made[k - 1])
    assert not any(fake.requires_grad for fake in seen["d"])
    assert all(fake.requires_grad for fake in seen["g"])
    assert not same(before, weights(generator))


def test_simultaneous_is_one_step_of_each():
    game = bilinear(1.0, 0.5, {"count": Counting()})
    d, g = players(game, lr=0.1)
    Simultaneous()(game, d, g)
    assert sorted(game.tricks["count"].log) == ["d", "g"]
    assert (int(d.clock.now), int(g.clock.now)) == (1, 1)


class Shown(Trick):
    """To D, images as they are."""

    def view(self, image: Tensor) -> Tensor:
        return image


@pytest.mark.parametrize("objective", [Minimax, NonSaturating, LeastSquares, Wasserstein])
@pytest.mark.parametrize(("tricks", "passes"), [({}, 1), ({"shown": Shown}, 2)])
def test_players_that_move_at_once_may_share_their_fakes(monkeypatch, objective, tricks, passes):
    """Both see the one batch that G makes, and step by the gradients at the weights as they were.

    D judges it once, but for tricks that might show it another way in each turn.
    """
    torch.manual_seed(0)
    made: list[Tensor] = []
    judged: list[int] = []
    game = small(objective, {name: trick() for name, trick in tricks.items()})
    game.nets["generator"].register_forward_hook(lambda net, given, image: made.append(image))
    judge = game._judge
    monkeypatch.setattr(
        game, "_judge", lambda critic, image, label: (judged.append(len(image)), judge(critic, image, label))[1]
    )
    Simultaneous(shared_fakes=True)(game, *players(game, 0.1))
    assert len(judged) == passes
    moved = weights(game.nets)
    torch.manual_seed(0)
    game = small(objective)
    before, fakes = weights(game.nets), game.fakes()
    losses = {"discriminator": game.d_loss(fakes=fakes)[0], "generator": game.g_loss(fakes=fakes)[0]}
    grads = [
        grad
        for player, net in game.nets.items()
        for grad in torch.autograd.grad(losses[player], list(net.parameters()), retain_graph=True)
    ]
    steps = [weight - 0.1 * grad for weight, grad in zip(before, grads, strict=True)]
    assert len(made) == 1
    assert all(torch.allclose(one, other) for one, other in zip(moved, steps, strict=True))


UPDATES = {"1:1": Alternating(), "5:1": Alternating(5, 1), "2:3": Alternating(2, 3), "at once": Simultaneous()}


class Looking(Trick):
    """Looks at reals in G's turn."""

    needs_real = True


@pytest.mark.parametrize("tricks", [{}, {"looking": Looking()}], ids=["plain", "needs_real"])
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_update_says_how_many_batches_it_draws(update, tricks):
    """The order of the data is written that far ahead; one too few would read old indices."""
    game = bilinear(1.0, 0.5, tricks)
    update(game, *players(game, lr=0.1))
    assert game.source.asked == update.real_batches(game)


# ---------------------------------------------------------------- whose gradients


class Net(nn.Module):
    """D with a hidden layer."""

    by_example = True

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(image))


class Noisy(nn.Module):
    """G with a hidden layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.body(latent + 1)


OBJECTIVES = [Minimax, NonSaturating, LeastSquares, Wasserstein]


def small(objective: type[Objective], tricks: dict[str, Trick] | None = None) -> Game:
    torch.manual_seed(0)
    return Game(Noisy(), Net(), objective(), tricks or {}, Fixed(torch.linspace(-1, 1, 6)[:, None], latent_dim=2))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_player_moves_itself_alone(objective):
    """Trap: a loss that is never back-propagated, or into the wrong net. The other player stays, bit for bit."""
    game = small(objective)
    d, g = players(game, lr=0.1)
    d_before, g_before = weights(game.nets["discriminator"]), weights(game.nets["generator"])
    move(game, d, d.grads(game.d_loss()[0]))
    assert same(g_before, weights(game.nets["generator"]))
    moved = [not torch.equal(a, b) for a, b in zip(d_before, weights(game.nets["discriminator"]), strict=True)]
    # the constant of a critic cancels: a difference of means does not depend on D's last bias
    assert moved == [True, True, True, objective is not Wasserstein]
    d_before = weights(game.nets["discriminator"])
    move(game, g, g.grads(game.g_loss()[0]))
    assert same(d_before, weights(game.nets["discriminator"]))
    assert not any(torch.equal(a, b) for a, b in zip(g_before, weights(game.nets["generator"]), strict=True))
    assert all(parameter.grad is None for parameter in game.parameters())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_small_step_lowers_the_movers_loss(objective):
    """Each against the other as it stands: the sign of both losses is right."""
    game = small(objective)
    d, g = players(game, lr=1e-3)
    for player, loss in ((d, game.d_loss), (g, game.g_loss)):
        before = loss()[0]
        move(game, player, player.grads(before))
        assert float(loss()[0].detach()) < float(before.detach())


def test_gradients_pass_the_hooks_of_both_players():
    class Halved(Trick):
        def gradients(self, grads):
            return [grad / 2 for grad in grads]

    game = bilinear(1.0, 0.5, {"once": Halved(), "twice": Halved()})
    Simultaneous()(game, *players(game, lr=0.4))
    assert where(game) == pytest.approx((1.0 - 0.1 * 0.5, 0.5 + 0.1 * 1.0))


@pytest.mark.parametrize("update", [Alternating(), Simultaneous(), Optimistic(), Unrolled(0)], ids=type)
def test_norms_are_those_of_the_gradients_that_are_stepped_by(update):
    """On V = x y the gradients are y for G, -x for D, which are halved before the step; D's step comes first where they
    take turns: y + 0.4 * x / 2."""

    class Halved(Trick):
        def gradients(self, grads):
            return [grad / 2 for grad in grads]

    game = bilinear(3.0, 0.5, {"halved": Halved()})
    stats = update(game, *players(game, lr=0.4))
    turns = isinstance(update, (Alternating, Unrolled))
    assert float(stats["d_grad_norm"]) == pytest.approx(1.5)
    assert float(stats["g_grad_norm"]) == pytest.approx((0.5 + 0.4 * 1.5 if turns else 0.5) / 2)


def test_norm_is_that_of_all_gradients_of_a_player_together():
    game = small(Minimax)
    d, _ = players(game, lr=0.1)
    grads = [torch.full_like(weight, 2.0) for weight in d.parameters]
    assert float(move(game, d, grads)) == pytest.approx(2 * sum(weight.numel() for weight in d.parameters) ** 0.5)


def test_parameters_of_the_objective_learn_with_g():
    class Offset(Bilinear):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.tensor(3.0))

        def g_loss(self, turn, on_fake) -> Tensor:
            return super().g_loss(turn, on_fake) + self.offset**2 / 2

    game = Game(Scalar(1.0), Linear(torch.tensor([0.5])), Offset(), {}, Fixed(torch.ones(4, 1)))
    d, g = players(game, lr=0.1)
    move(game, d, d.grads(game.d_loss()[0]))
    assert float(game.objective.offset.detach()) == 3.0
    move(game, g, g.grads(game.g_loss()[0]))
    assert float(game.objective.offset.detach()) == pytest.approx(3.0 - 0.1 * 3.0)


def test_weight_that_a_loss_does_not_reach_stays():
    """Its gradient is zero, not missing."""
    used, unused = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    player = Player([used, unused], partial(torch.optim.Adam, lr=0.1))
    player.apply(player.grads(used**2))
    assert float(used.detach()) == pytest.approx(0.9)
    assert float(unused.detach()) == 1.0


def test_after_hooks_leave_the_players_alone():
    game = bilinear(1.0, 0.5)
    before = weights(game)
    after_d(game)
    after_g(game)
    assert same(before, weights(game))
