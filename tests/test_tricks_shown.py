"""Tricks that change what D is shown or told, and which fakes G learns from."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.schedules import Schedule
from gantool.game.updates import Alternating
from gantool.objectives.hinge import Hinge
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.wasserstein import Wasserstein
from gantool.tricks.label_flipping import LabelFlipping
from gantool.tricks.replay_buffer import ReplayBuffer
from gantool.tricks.top_k import TopK
from toys import Fixed, Linear, Scalar, Shown, composed_game, players, refusal, turn, verdict

# ---------------------------------------------------------------- label flipping

P = torch.tensor([4, 2, 1, 1], dtype=torch.float64) / 8
Q = torch.tensor([1, 1, 2, 4], dtype=torch.float64) / 8
TIMES = 40_000  # each of eight draws, which have exactly these frequencies


def slope_of_d(objective, best: Tensor, trick: LabelFlipping) -> Tensor:
    """(4,) that of D's loss where D says best[i] of point i, with the targets that the trick gives."""
    a = best.clone().requires_grad_(True)
    real, fake = (a[torch.arange(4).repeat_interleave((8 * share).long()).repeat(TIMES)] for share in (P, Q))
    one, zero = trick.targets(torch.ones_like(real.detach()), torch.zeros_like(fake.detach()))
    shown = turn(real, fake, real_target=one, fake_target=zero)
    return torch.autograd.grad(objective.d_loss(shown, verdict(real), verdict(fake)), a)[0]


@pytest.mark.parametrize("objective, of_share", [(Minimax(), torch.logit), (LeastSquares(), torch.Tensor.clone)])
def test_optimum_with_flipped_labels(compose, objective, of_share):
    """In expectation the targets are 1 - s and s, so D* = ((1 - s) p + s q) / (p + q).

    D's slope at point i is a mean of 320,000 draws of standard deviation below sqrt(s (1 - s)), so its own is below
    0.0008; at the optimum without flips it is s (p - q), 0.075 at two of the points.
    """
    torch.manual_seed(0)
    s = 0.2
    trick = composed_game(compose, "trick=[label_flipping]", f"trick.label_flipping.share={s}").tricks["label_flipping"]
    assert slope_of_d(objective, of_share(((1 - s) * P + s * Q) / (P + Q)), trick).abs().max() < 0.003
    unflipped = slope_of_d(objective, of_share(P / (P + Q)), trick)
    assert torch.allclose(unflipped, s * (P - Q), atol=0.003)


def test_each_target_is_flipped_by_itself():
    torch.manual_seed(0)
    real, fake = LabelFlipping(0.3).targets(torch.ones(100_000), torch.zeros(100_000))
    assert set(real.tolist()) == set(fake.tolist()) == {0.0, 1.0}
    flipped = torch.stack([1 - real, fake, (1 - real).roll(1)])
    assert flipped.mean(dim=1).tolist() == pytest.approx([0.3] * 3, abs=0.01)
    assert torch.corrcoef(flipped).triu(1).abs().max() < 0.02  # neither of a pair nor of neighbours together


@pytest.mark.parametrize("order, told", [
    ("label_smoothing,label_flipping", ({0.9, 0.1}, {0.0, 1.0})),  # a flipped 0.9 is 0.1
    ("label_flipping,label_smoothing", ({0.9, 0.0}, {0.0, 0.9})),  # smoothed after the lie, on one side
])  # fmt: skip
def test_flipping_and_smoothing_act_in_the_order_given(compose, order, told):
    game = composed_game(compose, f"trick=[{order}]", "trick.label_flipping.share=0.5")
    real, fake = torch.ones(100), torch.zeros(100)
    for trick in game.tricks.values():
        real, fake = trick.targets(real, fake)
    assert tuple({round(value, 6) for value in each.tolist()} for each in (real, fake)) == told


# ---------------------------------------------------------------- replay buffer


class Shaped(Scalar):
    shape = (1,)


def replay_buffer(batch: int, size: int, share: float = 0.5) -> ReplayBuffer:
    trick = ReplayBuffer(size, share)
    trick.rewrite(nn.ModuleDict({"generator": Shaped(0.0)}), Fixed(torch.zeros(batch, 1)))
    return trick


def replayed(trick: ReplayBuffer, t: int, batch: int) -> Tensor:
    """(N,) when the fakes shown in turn t were made; fake i of turn t is 100 t + i, and so is its label."""
    number = 100 * t + torch.arange(batch)
    shown, label = trick.replay(number[:, None].float(), number)
    trick.keep(number[:, None].float(), number)
    assert torch.equal(shown[:, 0].long(), label), "a fake with the label of another"
    assert torch.equal(label[trick.old :], number[trick.old :]), "more than the share is old"
    return label // 100


@pytest.mark.parametrize("batch, share, old", [(8, 0.5, 4), (8, 0.25, 2), (6, 1.0, 6), (8, 0.0, 0)])
def test_a_share_of_the_fakes_is_old(batch, share, old):
    """None in the first turn, when there are none; exactly the share from the second on, before the buffer is full."""
    torch.manual_seed(0)
    trick = replay_buffer(batch, size=20, share=share)
    for t in range(30):
        assert int((replayed(trick, t, batch) < t).sum()) == (old if t else 0)


def test_the_buffer_fills_and_then_mixes():
    """Each place is filled before any is taken again; then a kept fake stays with probability 1 - r, r = old / size.

    So those shown are a turns old with probability r (1 - r)^(a - 1): 1/r = 5 turns on average, with variance
    (1 - r) / r^2 = 20.
    """
    torch.manual_seed(0)
    trick, ages = replay_buffer(batch=8, size=20), []
    for t in range(3000):
        made = replayed(trick, t, 8)[:4]
        kept = trick.kept[: int(trick.filled), 0].tolist()
        assert len(set(kept)) == len(kept) == min(4 * (t + 1), 20)
        assert {100.0 * t + i for i in range(4)} <= set(kept)
        assert torch.equal(trick.kept[:, 0].long()[: len(kept)], trick.kept_label[: len(kept)])
        if t == 4:
            assert sorted(kept) == [100 * turn + i for turn in range(5) for i in range(4)]
        ages += (t - made).tolist() if t >= 100 else []
    ages = torch.tensor(ages).float()
    assert float(ages.mean()) == pytest.approx(5, abs=0.3)
    assert float(ages.var()) == pytest.approx(20, rel=0.2)


def test_any_kept_fake_may_come_back():
    """2,000 draws from twenty: 100 of each, with a standard deviation of sqrt(100 * 19/20), 9.7."""
    torch.manual_seed(0)
    full, count = replay_buffer(batch=8, size=20), torch.zeros(20)
    for t in range(5):
        replayed(full, t, 8)
    for _ in range(500):
        _, label = copy.deepcopy(full).replay(torch.zeros(8, 1), torch.full((8,), -1))
        place = 4 * (label[:4] // 100) + label[:4] % 100
        count += torch.bincount(place, minlength=20)
    assert (count - 100).abs().max() < 45


def test_a_buffer_that_does_not_divide_is_filled_to_its_end():
    torch.manual_seed(0)
    trick = replay_buffer(batch=8, size=10)
    for t in range(3):
        replayed(trick, t, 8)
    assert int(trick.filled) == 10
    assert len(set(trick.kept_label.tolist())) == 10 and -1 not in trick.kept_label.tolist()


def test_replay_in_the_game():
    """D sees what G was; G is judged by what it is. Its state is saved, and another game goes on with it."""

    def game(x: float) -> Game:
        source = Fixed(torch.ones(8, 1))
        return Game(Shaped(x), Linear(torch.ones(1)), Shown(), {"replay": ReplayBuffer(size=4)}, source)

    first, second = game(2.0), game(3.0)
    first.d_loss()
    second.restore(first.state_dict() | {"nets.generator.x": torch.tensor(3.0)})
    second.d_loss()
    second.g_loss()
    assert second.objective.d_turn.fake[:, 0].tolist() == [2.0] * 4 + [3.0] * 4
    assert second.objective.g_turn.fake[:, 0].tolist() == [3.0] * 8


def test_an_update_that_looks_through_g_has_no_gradient_of_old_fakes():
    trick = replay_buffer(batch=8, size=20)
    x = torch.ones(8, 1, requires_grad=True)
    label = torch.arange(8)
    for passed in (8, 4):
        shown, _ = trick.replay(x * 2, label)
        trick.keep(x * 2, label)
        assert float(torch.autograd.grad(shown.sum(), x)[0].sum()) == 2 * passed
    assert not trick.kept.requires_grad


def test_a_buffer_without_room_is_refused(compose):
    sentence = refusal(composed_game, compose, "trick=[replay_buffer]", "trick.replay_buffer.size=1")
    assert "trick.replay_buffer.size=1" in sentence and "larger" in sentence


# ---------------------------------------------------------------- top k


def slope_of_g(objective, a: Tensor, trick: TopK | None = None) -> Tensor:
    """(N,) that of G's loss in D's logits."""
    a = a.clone().requires_grad_(True)
    on_fake = verdict(a)
    if trick is not None:
        on_fake = trick.heed(on_fake, objective.realness(on_fake.logits).detach())
        assert torch.equal(on_fake.logits, verdict(a).logits), "what is reported changes"
    return torch.autograd.grad(objective.g_loss(turn(a[:0], a), on_fake), a)[0]


@pytest.mark.parametrize("least, k", [(0.5, 4), (0.25, 2), (0.01, 1), (1.0, 8)])
@pytest.mark.parametrize("objective", [NonSaturating(), Minimax(), LeastSquares(), Hinge(), Wasserstein()], ids=type)
def test_gradient_of_top_k_is_that_of_the_mean_over_the_k_best(objective, least, k):
    """Sinha et al. 2020, section 3: the loss of the k alone, and nothing from the others."""
    a = torch.tensor([0.3, -2.0, 1.7, 0.1, -0.4, 3.0, -1.0, 0.9], dtype=torch.float64)
    best = a.argsort(descending=True)[:k]
    expected = torch.zeros_like(a)
    expected[best] = slope_of_g(objective, a[best])
    found = slope_of_g(objective, a, TopK(least))
    assert torch.allclose(found, expected, rtol=1e-14, atol=0)
    assert int((found != 0).sum()) == k


def test_top_k_of_equals_takes_k_of_them():
    for n, k in ((8, 4), (7, 4), (5, 2)):  # 0.5 n rounded to the even number
        found = slope_of_g(Wasserstein(), torch.zeros(n, dtype=torch.float64), TopK(0.5))
        assert sorted(found.tolist()) == pytest.approx([-1 / k] * k + [0] * (n - k))


def test_k_is_annealed_and_its_clock_counts_rounds():
    """From all 8 to half of them in 4 rounds, one less each."""
    trick, a = TopK(0.5, Schedule(4, "linear")), torch.arange(8, dtype=torch.float64)
    game = Game(Scalar(1.0), Linear(torch.ones(1)), NonSaturating(), {"top_k": trick}, Fixed(torch.ones(4, 1)))
    for k in (8, 7, 6, 5, 4, 4):
        assert int((slope_of_g(Wasserstein(), a, trick) != 0).sum()) == k
        Alternating(2, 3)(game, *players(game, 0.1))


class Bias(nn.Module):
    """G(z, i) = bias_i: one weight an example."""

    def __init__(self, values: list[float]):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.values[:, None]


def test_top_k_in_the_game_moves_the_best_fakes_of_g_only():
    """D(v) = -v, so the best are the smallest; k = 2, and each is moved by its share of a mean over 2. D sees all."""
    game = Game(Bias([3.0, 1.0, 2.0, 0.0]), Linear(-torch.ones(1)), Wasserstein(), {"top_k": TopK(0.5)},
                Fixed(torch.ones(4, 1)))  # fmt: skip
    (gradient,) = torch.autograd.grad(game.g_loss()[0], game.nets["generator"].values)
    assert gradient.tolist() == [0.0, 0.5, 0.0, 0.5]
    (of_d,) = torch.autograd.grad(game.d_loss()[0], game.nets["discriminator"].weight)
    assert float(of_d) == pytest.approx((3 + 1 + 2 + 0) / 4 - 1)
