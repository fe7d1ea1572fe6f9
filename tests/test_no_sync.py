"""A step never waits for the device and brings nothing from the host: every objective, trick and update, two by two.

All three at once: marker `slow`.

A mode watches the second step of each combination. It sees, without a GPU, every operation that would make the
host wait (a tensor's value in Python, a shape that depends on values) or that copies host data (`torch.tensor(...)`,
indexing with a list). What it cannot see is a copy between two devices; tests/test_gpu.py does.
"""

import copy
import itertools
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.engine.meters import Meters
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.player import Player
from toys import pictures, plain, points, same, weights

STEPS = 2  # the first makes the optimisers' moments, and what replay buffers and averages hold
WAITS = {
    "_local_scalar_dense", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_numpy", "argwhere", "masked_select",
    "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount", "repeat_interleave",
}  # fmt: skip
COPIES = {"lift_fresh", "lift_fresh_copy"}
PYTHON = ("item", "tolist", "numpy", "__array__", "cpu", "__repr__", "__format__")  # of a tensor


class NoSync(TorchDispatchMode):
    """Raises where an operation would wait for the device, or bring data to it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here: torch's guard against it costs more than the watch

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in WAITS or any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks):
            raise AssertionError(f"{operation} waits for the device")
        if name in COPIES:
            raise AssertionError(f"{operation} brings data from the host")
        return operation(*args, **kwargs or {})


@contextmanager
def NoPython() -> Iterator[None]:  # noqa: N802 (as the mode beside it)
    """Raises where a tensor's values reach Python by ways that are no operations, or random numbers are the host's."""

    def forbidden(name: str) -> Callable[..., Any]:
        def raises(*_: Any, **__: Any) -> Any:
            raise AssertionError(f"{name} waits for the device")

        return raises

    with pytest.MonkeyPatch.context() as patch:
        for name in PYTHON:
            patch.setattr(torch.Tensor, name, forbidden(name))
        patch.setattr(torch, "manual_seed", forbidden("manual_seed"))
        yield


FORBIDDEN = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "if": lambda x: 1 if x.sum() > 0 else 0,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "print": lambda x: f"{x}",
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "put": lambda x: x.index_put((x > 0,), x),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "one_hot": lambda x: torch.nn.functional.one_hot(x.long()),
    "slice": lambda x: x[: x.long()[0]],
    "tensor": lambda x: x * torch.tensor(2.0),
    "as_tensor": lambda x: x + torch.as_tensor([1.0]),
    "from_numpy": lambda x: x + torch.from_numpy(np.ones(1)),
    "list index": lambda x: x[[0, 1]],
}
ALLOWED = {
    "where": lambda x: torch.where(x > 0, x, -x),
    "index": lambda x: x[x.long()],
    "fill": lambda x: x.masked_fill(x > 0, 2.0) * 3 + 1,
    "full": lambda x: torch.full((3,), 2.0) + torch.randn(3),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_watch_sees(name):
    with NoSync(), NoPython(), pytest.raises(AssertionError, match="waits for|brings data"):
        FORBIDDEN[name](torch.ones(3))


@pytest.mark.parametrize("name", ALLOWED)
def test_the_watch_lets_pass(name):
    with NoSync(), NoPython():
        ALLOWED[name](torch.ones(3))


# ---------------------------------------------------------------- what is played


def options(group: str) -> list[str]:
    found = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    assert found, f"conf/{group} is empty"
    return found


OBJECTIVES, TRICKS, UPDATES = options("objective"), options("trick"), options("update")
SMALL = {
    "points": ["architecture=mlp", "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]"],
    "images": [
        "architecture=dcgan", "architecture.class_conditional=true",
        "architecture.generator.features=2", "architecture.generator.max_features=2",
        "architecture.discriminator.features=2", "architecture.discriminator.max_features=2",
    ],
}  # fmt: skip
SUITED = {  # what an objective asks for besides, and what makes an update quicker
    "update=unrolled": ["update.unrolled_steps=2"],
    "objective=auxiliary_classifier": ["architecture.class_conditional=true"],
    "objective=semi_supervised": ["architecture.class_conditional=false"],
    "objective=began": [
        "architecture=autoencoder", "architecture.generator.features=2", "architecture.discriminator.features=2",
        "architecture.generator.repeats=1", "architecture.discriminator.repeats=1",
    ],
}  # fmt: skip
DATA = {"points": points(10, classes=2), "images": pictures(10)}
composed: dict[tuple[str, ...], bytes] = {}


def config(compose, kind: str, tricks: tuple[str, ...] = (), *overrides: str) -> dict[str, Any]:
    """As `gantool train ... trick=[...]` would compose it; each option is read once, since Hydra takes its time."""

    def cached(*chosen: str) -> dict[str, Any]:
        if chosen not in composed:
            composed[chosen] = pickle.dumps(plain(compose(*chosen)))
        return pickle.loads(composed[chosen])

    suited = [key for name in overrides if name.startswith("objective=") for key in SUITED.get(name, [])]
    small = suited if any(key.startswith("architecture=") for key in suited) else [*SMALL[kind], *suited]
    update = [key for key in overrides if key.startswith("update=")]  # a group by itself
    rest = [key for key in overrides if key not in update]
    keys = [key for name in update for key in SUITED.get(name, [])]
    made = cached(*small, "batch_size=4", "architecture.latent_dim=16", *rest)
    made["update"] = cached(*update, *keys)["update"]
    each = cached(f"trick=[{','.join(TRICKS)}]")["trick"]
    made["trick"] = dict(made.get("trick") or {}) | {name: each[name] for name in tricks}
    return made


def built(made: dict[str, Any], kind: str) -> tuple[Game, Player, Player, Any]:
    """Game, D, G and update, with room for the batches of STEPS rounds. Raises UsageError where it is refused."""
    builder, images = Builder((), budget_steps=2 * STEPS), DATA[kind]
    source = builder.source(made, images, flip=True)
    game = builder.game(made, images.shape, images.num_classes, source)
    d, g = builder.players(game, made["optimizer"])
    update = builder.make("update", made["update"])
    source.reserve(STEPS * update.real_batches(game))
    source.draws_all = True  # as streamed data has it
    return game, d, g, update


def watched(game: Game, d: Player, g: Player, update: Any, meters: Meters, rounds: range, closely: bool = True) -> None:
    """Not `closely`: only for what costs no time to watch."""
    game.source.prepare(len(rounds) * update.real_batches(game))
    with NoSync() if closely else nullcontext(), NoPython():
        for step in rounds:
            game.begin(step)
            with game.source.counted(update.real_batches(game)):
                meters.add(update(game, d, g))


def plays(made: dict[str, Any], kind: str, saves: bool = False, closely: bool = False) -> bool:
    """STEPS rounds; False where the combination is refused, which takes a sentence, and must come before.

    `saves`: what is saved before the last of them and restored into another game goes on bit for bit. `closely`: the
    others are watched too, where they do what the last one does not.
    """
    torch.manual_seed(0)
    try:
        game, d, g, update = built(made, kind)
    except UsageError as refusal:
        assert len(str(refusal).split()) > 5
        return False
    before, meters = weights(game.nets), Meters(torch.device("cpu"))
    host = random.getstate(), np.random.get_state()[1].tolist()
    watched(game, d, g, update, meters, range(STEPS - 1), closely)
    saved = state(game, d, g) if saves else {}
    watched(game, d, g, update, meters, range(STEPS - 1, STEPS))
    means, bad = meters.read()
    assert not bad
    assert {"d_loss", "g_loss"} - ({"d_loss"} if not game.objective.critic else set()) <= set(means)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (*game.parameters(), *game.buffers()))
    assert all(parameter.grad is None for parameter in game.parameters())
    assert_moved(game, before)
    assert host == (random.getstate(), np.random.get_state()[1].tolist()), "random numbers of the host were used"
    if saves:
        assert_alike(state(game, d, g), resumed(made, kind, saved))
    return True


def state(game: Game, d: Player, g: Player) -> dict[str, Any]:
    """All that a checkpoint holds of them (gantool/commands/assembly.py), copied."""
    players = {"d": d.state_dict(), "g": g.state_dict()}
    return copy.deepcopy({"game": game.state_dict(), **players, "random": torch.get_rng_state()})


def resumed(made: dict[str, Any], kind: str, saved: dict[str, Any]) -> dict[str, Any]:
    """The state after the last round, of a game that begins there with what was saved."""
    torch.manual_seed(1)
    game, d, g, update = built(made, kind)
    game.restore(saved["game"])
    d.load_state_dict(saved["d"])
    g.load_state_dict(saved["g"])
    torch.set_rng_state(saved["random"])
    watched(game, d, g, update, Meters(torch.device("cpu")), range(STEPS - 1, STEPS), closely=False)
    return state(game, d, g)


def assert_alike(one: Any, other: Any, path: str = "") -> None:
    """Nested dicts and lists of the same tensors, bit for bit."""
    if isinstance(one, dict | list):
        assert len(one) == len(other), path
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_alike(one[key], other[key], f"{path}.{key}")
    else:
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other, path


def assert_moved(game: Game, before: list[Tensor]) -> None:
    for net in game.nets.values():
        old, before = before[: len(weights(net))], before[len(weights(net)) :]
        assert same(old, weights(net)) == (not old)
        assert bool(old) or not game.objective.critic


def refused_with_reason(made: dict[str, Any], kind: str) -> bool:
    """What the classes themselves declare: a critic without bounds; targets, or a D that learns, where there are none.

    Every other combination has to run. A further reason is declared on the class too, and added here.
    """
    builder = Builder((), budget_steps=2 * STEPS)
    objective = builder.make("objective", made["objective"], None, {"num_classes": 2})
    tricks = [builder.make(f"trick.{name}", node) for name, node in made["trick"].items()]
    unbounded = objective.needs_lipschitz and not any(trick.lipschitz for trick in tricks)
    mute = objective.realness(torch.zeros(1, objective.logits)) is None
    return unbounded or missing_norm(made) or any(
        (trick.needs_targets and not objective.has_targets)
        or (trick.needs_critic and not objective.critic)
        or (trick.needs_realness and mute)
        or (trick.needs_threshold and objective.threshold is None)
        or (trick.needs_average and not objective.averages)
        or (trick.needs_head and objective.energy)
        or (trick.needs_images and kind == "points")
        or (trick.replays and bool(objective.codes))
        for trick in tricks
    )  # fmt: skip


def missing_norm(made: dict[str, Any]) -> bool:
    """Is a BatchNorm to be replaced that is not there, or that another trick has replaced?"""
    wanted = [node["player"] for name, node in made["trick"].items() if name.endswith("_batch_norm")]
    nets = {player: made["architecture"][player] for player in ("generator", "discriminator")}
    there = {player: net.get("normalization") == "batch" for player, net in nets.items()}
    return any(sum(each in (player, "both") for each in wanted) > there[player] for player in there)


ALONE: list[tuple[str, ...]] = [(), *((trick,) for trick in TRICKS)]


def assert_plays_or_is_refused(compose, kind: str, objective: str, tricks: tuple[str, ...], update: str) -> bool:
    """For a declared reason. Was it played?"""
    made = config(compose, kind, tricks, f"objective={objective}", f"update={update}")
    played = plays(made, kind)
    assert played != refused_with_reason(made, kind), f"{objective} with {tricks} under {update}"
    return played


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_with_every_trick(compose, objective):
    """On images. The updates in turn, so that each meets every objective and every trick."""
    turn = OBJECTIVES.index(objective)
    updates = [UPDATES[(turn + number) % len(UPDATES)] for number in range(len(ALONE))]
    assert any([  # a list: none is left out
        assert_plays_or_is_refused(compose, "images", objective, tricks, update)
        for tricks, update in zip(ALONE, updates, strict=True)
    ]), "an objective that nobody can play"  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_under_every_update(compose, objective, update, kind):
    assert_plays_or_is_refused(compose, kind, objective, (), update)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trick_and_update(compose, objective, update, kind):
    for tricks in ALONE:
        assert_plays_or_is_refused(compose, kind, objective, tricks, update)


def assert_a_pair_plays(compose, kind: str, pair: tuple[str, str], update: str) -> None:
    """With the first objective that both may join. Where there is none it is refused, and is one of those below."""
    played = False
    for objective in ["non_saturating", *OBJECTIVES]:
        made = config(compose, kind, pair, f"objective={objective}", f"update={update}")
        if not refused_with_reason(made, kind):
            played = plays(made, kind, saves=True)
            break
    assert played or not plays(made, kind)
    normed = [name.endswith("_batch_norm") for name in pair]
    augmented = [name.endswith("_augment") for name in pair]
    assert played != (all(normed) if kind == "images" else any(normed + augmented)), f"{objective} with {pair}"


@pytest.mark.parametrize("first", TRICKS[:-1])
def test_every_pair_of_tricks(compose, first):
    """On images, in either order in turn; the updates in turn; saved and restored bit for bit."""
    at = TRICKS.index(first)
    for number, second in enumerate(TRICKS[at + 1 :], at + 1):
        pair = (first, second) if number % 2 else (second, first)
        assert_a_pair_plays(compose, "images", pair, UPDATES[(at + number) % len(UPDATES)])


@pytest.mark.parametrize("trick", TRICKS)
def test_every_trick_on_points(compose, trick):
    """With the first objective that it may join; those that need images or a BatchNorm are refused with each."""
    for objective in ["non_saturating", *OBJECTIVES]:
        if assert_plays_or_is_refused(compose, "points", objective, (trick,), "alternating"):
            return
    assert trick.endswith(("_batch_norm", "_augment"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("first", TRICKS)
@pytest.mark.parametrize("update", UPDATES)
def test_every_pair_of_tricks_under_every_update(compose, update, first, kind):
    for second in TRICKS:
        if second != first:
            assert_a_pair_plays(compose, kind, (first, second), update)


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_optimizer(compose, optimizer, scheduled):
    """On the CPU; CUDA has kernels of its own."""
    schedules = [f"optimizer.{player}.schedule.kind=linear" for player in ("generator", "discriminator")]
    assert plays(config(compose, "images", (), f"optimizer={optimizer}", *(schedules if scheduled else [])), "images")


@pytest.mark.parametrize("prior", options("prior"))
def test_every_prior(compose, prior):
    assert plays(config(compose, "points", (), f"prior={prior}"), "points")


@pytest.mark.parametrize("architecture", options("architecture"))
def test_every_architecture(compose, architecture):
    objective = "began" if architecture == "autoencoder" else "non_saturating"
    made = plain(compose(f"architecture={architecture}", f"objective={objective}", "batch_size=4",
                         "architecture.class_conditional=true"))  # fmt: skip
    assert plays(made, "images")


@pytest.mark.parametrize("every", [1, STEPS])
@pytest.mark.parametrize("kind", ["wgan_gp", "dragan", "r1", "r2"])
def test_every_gradient_penalty(compose, kind, every):
    """Lazy too: the round that a restored game begins with is not due, though it is the first that this game plays."""
    made = config(compose, "images", ("gradient_penalty",), "objective=non_saturating")
    made["trick"]["gradient_penalty"] |= {"kind": kind, "every": every}
    assert plays(made, "images", saves=True, closely=True)


def test_a_configuration_that_is_put_together_is_the_composed_one(compose):
    settings = ("objective=wgan_gp", "update=unrolled", "optimizer=sgd")
    together = config(compose, "images", ("ema",), *settings)
    chosen = (*SMALL["images"], *SUITED["update=unrolled"], "batch_size=4", "architecture.latent_dim=16", *settings)
    assert together == plain(compose(*chosen, "trick=[gradient_penalty,ema]"))


def test_pairs_keep_their_order(compose):
    """trick=[a,b] is not trick=[b,a]."""
    for order in itertools.permutations(TRICKS[:2]):
        assert tuple(config(compose, "points", order)["trick"]) == order
        assert tuple(plain(compose(f"trick=[{','.join(order)}]"))["trick"]) == order
