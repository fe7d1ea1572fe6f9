"""A hyperparameter as a function of the step, and the learning rate as one."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gantool.commands.assembly import Assembly
from gantool.errors import UsageError
from gantool.game.player import Player
from gantool.game.schedules import Schedule
from toys import plain, weights

FORMULAS = {
    "constant": lambda share, final: 1.0,
    "linear": lambda share, final: 1 - share + final * share,
    "cosine": lambda share, final: final + (1 - final) * (1 + math.cos(math.pi * share)) / 2,
    "exponential": lambda share, final: final**share,
}


def at(schedule: Schedule, step: int) -> float:
    value = schedule(torch.tensor(step))
    assert value.shape == ()
    assert value.dtype == torch.float32
    return float(value)


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("step", [0, 9, 10, 11, 20, 40, 49, 50, 51, 10_000])
def test_schedule_is_its_formula(kind, step):
    """1 until `begin`, `final` from `end` on, and in between a function of the share that has passed."""
    share = min(max((step - 10) / 40, 0), 1)
    found = at(Schedule(None, kind, begin=10, end=50, final=0.2), step)
    assert found == pytest.approx(FORMULAS[kind](share, 0.2), abs=1e-6)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_schedule_ends_at_exactly_nothing(kind):
    """Trap: a step counter off by one. 0 at `end`, not before."""
    schedule = Schedule(30, kind)
    assert at(schedule, 30) == 0
    assert at(schedule, 29) > 0
    assert at(schedule, 0) == 1
    assert at(schedule, 1) < 1


def test_schedule_can_rise():
    assert at(Schedule(10, "linear", final=3.0), 5) == pytest.approx(2.0)


def test_end_of_the_run_is_the_default_end():
    assert at(Schedule(200, "linear"), 100) == pytest.approx(0.5)
    assert at(Schedule(200, "linear", end=400), 100) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"budget_steps": None, "kind": "linear"}, "give its `end`, or a budget"),
        ({"budget_steps": 100, "kind": "cosine", "begin": 100}, "must end after it begins: got begin=100, end=100"),
        ({"budget_steps": 100, "kind": "exponential"}, "give `final` a small positive factor"),
    ],
)
def test_impossible_schedule_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        Schedule(**options)


# ---------------------------------------------------------------- learning rates


OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.1, betas=(0.5, 0.9), weight_decay=0.01),
    "adamw": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.05, momentum=0.9),
    "sgd": partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
}


def gradient(weight: Tensor, step: int) -> Tensor:
    """Of a bowl whose middle moves."""
    return 2 * (weight - torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) * math.cos(step))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scheduled_player_moves_like_an_optimizer_whose_rate_is_set_by_hand(name):
    schedule = Schedule(25, "cosine", begin=5, final=0.1)
    mine, theirs = (nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2))
    player, optimizer = Player([mine], OPTIMIZERS[name], schedule), OPTIMIZERS[name]([theirs])
    rate, travelled = optimizer.param_groups[0]["lr"], 0.0
    for step in range(30):
        before = mine.detach().clone()
        player.apply([gradient(mine.detach(), step)])
        player.clock.tick()
        optimizer.param_groups[0]["lr"] = rate * at(schedule, step)
        theirs.grad = gradient(theirs.detach(), step)
        optimizer.step()
        assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-7), step  # the factor is float32
        travelled += float((mine.detach() - before).abs().sum())
    assert travelled > 0.1


def test_constant_schedule_is_the_plain_optimizer_bit_for_bit():
    finals = []
    for schedule in (None, Schedule(None, "constant")):
        weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        player = Player([weight], OPTIMIZERS["adam"], schedule)
        for step in range(10):
            player.apply([gradient(weight.detach(), step)])
            player.clock.tick()
        finals.append(weight.detach())
    assert torch.equal(*finals)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_player_resumes_where_it_was(name):
    """Moments and clock are in its state: ten steps, saved after four, are the same as ten steps."""
    schedule = Schedule(10, "linear")

    def player(weight: nn.Parameter) -> Player:
        return Player([weight], OPTIMIZERS[name], schedule)

    straight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    whole = player(straight)
    for step in range(10):
        if step == 4:
            resumed = nn.Parameter(straight.detach().clone())
            second = player(resumed)
            second.load_state_dict(copy.deepcopy(whole.state_dict()))
        whole.apply([gradient(straight.detach(), step)])
        whole.clock.tick()
        if step >= 4:
            second.apply([gradient(resumed.detach(), step)])
            second.clock.tick()
    assert torch.equal(straight, resumed)


@pytest.mark.parametrize("k, m", [(1, 1), (3, 1), (2, 4)])
def test_schedules_end_with_the_run(compose, k, m):
    """`end: null` is the end of the run for every schedule, however many steps a player takes in a round.

    Adam without memory goes exactly its rate at each step, in each weight.
    """
    config = plain(
        compose(
            "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "batch_size=4", "steps=10",
            f"update.discriminator_steps={k}", f"update.generator_steps={m}", "trick=[instance_noise]", "logger=[]",
            *(
                f"optimizer.{player}.{setting}"
                for player in ("generator", "discriminator")
                for setting in ("betas=[0.0,0.0]", "eps=1e-30", "lr=1e-3", "schedule.kind=linear")
            ),
        )
    )  # fmt: skip
    run = Assembly(config)
    for step in range(10):
        assert float(run.game.tricks["instance_noise"].view(torch.zeros(20_000)).std()) == pytest.approx(
            0.1 * (1 - step / 10), rel=0.05
        )
        before = [weights(net) for net in run.game.nets.values()]
        run.source.prepare(run.batches_per_step)
        run.step()
        for old, net, steps in zip(before, run.game.nets.values(), (m, k), strict=True):
            furthest = max(float((a - b).abs().max()) for a, b in zip(old, weights(net), strict=True))
            now, next_round = (steps * 1e-3 * (1 - at / 10) for at in (step, step + 1))
            assert (next_round if steps > 1 else now) * 0.99 <= furthest <= now * 1.01
