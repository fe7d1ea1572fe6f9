"""A step never waits for the device and brings nothing from the host: every objective x trick x update in conf/.

Two modes watch three steps of each combination. They see, without a GPU, every operation that would make the host wait
(a tensor's value in Python, a shape that depends on values) or that copies host data (`torch.tensor(...)`, indexing
with a list). What they cannot see is a copy between two devices; tests/test_gpu.py does.
"""

import copy
import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.engine.meters import Meters
from gantool.errors import UsageError
from gantool.game.game import Game
from toys import pictures, plain, points, same, weights

STEPS = 3
WAITS = {
    "_local_scalar_dense", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_numpy", "argwhere", "masked_select",
    "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount", "repeat_interleave",
}  # fmt: skip
COPIES = {"lift_fresh", "lift_fresh_copy"}
PYTHON = {"item", "tolist", "numpy", "__array__", "cpu", "__repr__", "__format__", "manual_seed"}


class NoSync(TorchDispatchMode):
    """Raises where an operation would wait for the device, or bring data to it."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in WAITS or any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks):
            raise AssertionError(f"{operation} waits for the device")
        if name in COPIES:
            raise AssertionError(f"{operation} brings data from the host")
        return operation(*args, **kwargs or {})


class NoPython(TorchFunctionMode):
    """Raises where a tensor's values reach Python by ways that are no operations."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in PYTHON:
            raise AssertionError(f"{function} waits for the device")
        return function(*args, **kwargs or {})


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
SUITED = {  # what an objective asks for besides
    "auxiliary_classifier": ["architecture.class_conditional=true"],
    "semi_supervised": ["architecture.class_conditional=false"],
    "began": [
        "architecture=autoencoder", "architecture.generator.features=2", "architecture.discriminator.features=2",
        "architecture.generator.repeats=1", "architecture.discriminator.repeats=1",
    ],
}  # fmt: skip
DATA = {"points": points(10, classes=2), "images": pictures(10)}
composed: dict[tuple[str, ...], dict[str, Any]] = {}


def config(compose, kind: str, tricks: tuple[str, ...] = (), *overrides: str) -> dict[str, Any]:
    """As `gantool train ... trick=[...]` would compose it; each option is read once, since Hydra takes its time."""

    def cached(*chosen: str) -> dict[str, Any]:
        if chosen not in composed:
            composed[chosen] = plain(compose(*chosen))
        return composed[chosen]

    suited = [key for name, keys in SUITED.items() if f"objective={name}" in overrides for key in keys]
    small = suited if any(key.startswith("architecture=") for key in suited) else [*SMALL[kind], *suited]
    made = copy.deepcopy(cached(*small, "batch_size=4", "architecture.latent_dim=16", *overrides))
    made["trick"] = dict(made.get("trick") or {}) | {name: cached(f"trick=[{name}]")["trick"][name] for name in tricks}
    return made


def plays(made: dict[str, Any], kind: str) -> bool:
    """Three watched rounds; False where the combination is refused, which takes a sentence, and must come before."""
    torch.manual_seed(0)
    builder = Builder((), budget_steps=2 * STEPS)
    images = DATA[kind]
    try:
        source = builder.source(made, images, flip=True)
        game = builder.game(made, images.shape, images.num_classes, source)
        d, g = builder.players(game, made["optimizer"])
        update = builder.make("update", made["update"])
    except UsageError as refusal:
        assert len(str(refusal).split()) > 5
        return False
    before, meters = weights(game.nets), Meters(torch.device("cpu"))
    host = random.getstate(), np.random.get_state()[1].tolist()
    source.reserve(STEPS * update.real_batches(game))
    source.prepare(STEPS * update.real_batches(game))
    with NoSync(), NoPython():
        for step in range(STEPS):
            game.begin(step)
            meters.add(update(game, d, g))
    means, bad = meters.read()
    assert not bad
    assert {"d_loss", "g_loss"} - ({"d_loss"} if not game.objective.critic else set()) <= set(means)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (*game.parameters(), *game.buffers()))
    assert all(parameter.grad is None for parameter in game.parameters())
    assert_moved(game, before)
    assert host == (random.getstate(), np.random.get_state()[1].tolist()), "random numbers of the host were used"
    return True


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
    aimless = not objective.has_targets and any(trick.needs_targets for trick in tricks)
    mute = objective.realness(torch.zeros(1, objective.logits)) is None
    normless = kind == "points" and any("batch_norm" in name for name in made["trick"])  # the small mlp has none
    return (
        unbounded
        or aimless
        or normless
        or any(
            (trick.needs_critic and not objective.critic)
            or (trick.needs_realness and mute)
            or (trick.needs_images and kind == "points")
            or (trick.replays and objective.codes)
            for trick in tricks
        )
    )


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trick_and_update(compose, objective, update, kind):
    ran = refused = 0
    for tricks in [(), *((trick,) for trick in TRICKS)]:
        made = config(compose, kind, tricks, f"objective={objective}", f"update={update}")
        played = plays(made, kind)
        ran, refused = ran + played, refused + (not played)
        assert played or refused_with_reason(made, kind), (
            f"{objective} with {made['trick'].keys()} refused for no declared reason"
        )
        assert not (played and refused_with_reason(made, kind)), f"{objective} ran with {made['trick'].keys()}"
    assert ran + refused == 1 + len(TRICKS)
    assert ran > 0, "an objective that nobody can play"


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("first", TRICKS)
def test_every_ordered_pair_of_tricks(compose, first, kind):
    """Under alternating, with the first objective that both may join; every trick finds one."""
    ran = 0
    for second in TRICKS:
        if second != first:
            candidates = (config(compose, kind, (first, second), f"objective={name}") for name in OBJECTIVES)
            made = next((made for made in candidates if not refused_with_reason(made, kind)), None)
            assert made is not None, f"no objective takes trick=[{first},{second}]"
            assert [name for name in made["trick"] if name in (first, second)]
            ran += plays(made, kind)
    assert ran == len(TRICKS) - 1


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


@pytest.mark.parametrize("kind", ["wgan_gp", "dragan", "r1", "r2"])
def test_every_gradient_penalty(compose, kind):
    made = config(compose, "images", ("gradient_penalty",), "objective=non_saturating")
    made["trick"]["gradient_penalty"] |= {"kind": kind}
    assert plays(made, "images")


def test_pairs_keep_their_order(compose):
    """trick=[a,b] is not trick=[b,a]."""
    for order in itertools.permutations(TRICKS[:2]):
        assert tuple(config(compose, "points", order)["trick"]) == order
        assert tuple(plain(compose(f"trick=[{','.join(order)}]"))["trick"]) == order
