"""A configuration as running parts: data, game, players, clock. Imports torch."""

import logging
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from gantool.commands.doctor import cpu_model
from gantool.commands.measuring import Metrics, Told
from gantool.commands.planning import NAMED, check_classes, check_use, clock_of, listed, make_meta, make_update, plan_of
from gantool.commands.showing import Shown
from gantool.commands.stopping import Stop
from gantool.config.build import Builder
from gantool.engine import loop, precision
from gantool.engine.allocator import keep_memory
from gantool.engine.capture import CudaGraphs
from gantool.engine.compiled import Compiler, is_wanted
from gantool.engine.deploy import Deployed, untouched
from gantool.engine.diversity import Diversity
from gantool.engine.eager_convolutions import faster_layers
from gantool.engine.meters import Meters
from gantool.engine.plain import Forgotten
from gantool.engine.random import get_rng, set_rng, set_seed
from gantool.engine.rounds import Rounds
from gantool.engine.state import State
from gantool.engine.streamed import choose_source
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.images import fingerprint, hide_labels, loaded, promised
from gantool.game.meta import Meta
from gantool.game.promises import columns, real_batches
from gantool.game.types import Dataset, Images
from gantool.game.updates import begin, restore, state_of

log = logging.getLogger(__name__)


class Assembly:
    """Everything that a run computes with, and its state."""

    def __init__(self, config: dict[str, Any], saved: Mapping[str, Any] | None = None):
        """`saved`: the checkpoint that will be loaded, by which the rest of the budget is planned."""
        self.config = config
        trust = tuple(config["trust"])
        self.update = make_update(config, trust)
        self.images_per_step = config["batch_size"] * self.update.discriminator_steps
        self.plan = plan_of(config, trust, saved)
        self.meta = make_meta(config, trust)
        self.builder = Builder(trust, self.plan.game_steps)
        self.device = precision.choose_device(config["device"])
        self.dataset: Dataset = promised(self.builder.make("dataset", config["dataset"]))
        self.builder.check(config, self.dataset.shape, len(self.dataset.names))
        self.precision = precision.choose_precision(config["precision"], self.device, self.dataset.shape)
        precision.set_up(self.device, config["deterministic"], config["threads"])
        torch.set_flush_denormal(True)
        if self.device.type == "cpu":
            keep_memory()
        set_seed(self.device, config["seed"])
        self.metrics = Metrics(self.builder, config.get("metric"), config, self.device)
        images = hide_labels(loaded(self.dataset), config["labels"], config["seed"])
        self._build(images)
        self.metrics.check(self.dataset, self.deployed)
        self.clock = clock_of(None, self.images_per_step)
        self.shown = Shown(self.deployed, self.spec, config["seed"])
        self.measure_diversity = Diversity(images, self.shown.labels, config["seed"])

    def _build(self, images: Images) -> None:
        self.data = {"fingerprint": fingerprint(images), "size": len(images.pixels), "shape": list(images.shape)}
        self.data["classes"] = images.num_classes
        self.spec = describe(images, self.config["architecture"]["class_conditional"])
        kind = choose_source(self.config["data"], images, self.device)
        self.source = self.builder.source(self.config, images, self.dataset.flip, kind)
        if self.meta:
            self.meta.begin(images)
        self.meters = Meters(self.device)
        self._start_game()
        self.batches_per_step = real_batches(self.update.real_batches(self.game), self.update)
        labelled = self.game.objective.needs_labelled
        self.source.reserve(self.plan.beat * self.batches_per_step, self.batches_per_step, labelled)

    def _start_game(self) -> None:
        """Networks, tricks and optimisers, all afresh."""
        shape, classes = tuple(self.spec["shape"]), len(self.spec["names"])
        self.game = self.builder.game(self.config, shape, classes, self.source).to(self.device)
        self.game.autocast = precision.autocast(self.precision, self.device)
        if self.device.type in ("cpu", "cuda") and len(shape) == 3:
            for part in (self.game.nets, self.game.tricks):
                part.to(memory_format=torch.channels_last)
        self.d, self.g = self.builder.players(self.game, self.config["optimizer"])
        check_use(self.config, self.update, self.game, self.d, self.metrics.columns)
        begin(self.update, self.game, self.d, self.g)
        self._record_anew()
        self._deploy()

    @property
    def described(self) -> str:
        """The data in a line: `1,617 examples of 1 x 8 x 8 numbers, 10 classes: 0, 1, ...`"""
        names, shape = self.spec["names"], " x ".join(map(str, self.spec["shape"]))
        return f"{self.data['size']:,} examples of {shape} numbers, " + (
            f"{len(names)} classes: {listed(names, NAMED)}" if names else "no classes"
        )

    def _check_shares(self, state: dict[str, Any]) -> None:
        """Components that were trained have the budgets that these settings give them."""
        each = self.plan.component_steps
        if self.meta is None or each is None:
            return
        step, then = state["step"], state.get("component_steps", each)  # older checkpoints do not say
        done, last = len(self.meta.components), len(self.meta.components) + 1 == self.meta.rounds
        due = done * each <= step <= (done + 1) * each or (last and step >= done * each)
        if due and (not done or then == each):
            return
        raise UsageError(
            f"with these settings each of {self.meta.rounds} components has {each} steps, and this run has finished "
            f"{done} in {step}, {then} each: keep steps / meta.components as it was, or begin a new run"
        )

    def _deploy(self) -> None:
        self.deployed = deployed(self.game, self.config, self.spec, self.builder, meta=self.meta)

    def next_component(self) -> None:
        """If the next one is due: weighs the examples by what the mixture lacks, and starts a game afresh."""
        finished = self.clock.step // self.plan.game_steps if self.plan.game_steps else 0
        if self.meta is None or not len(self.meta.components) < finished < self.meta.rounds:
            return
        log.info("component %d of %d is trained; now the examples are weighed", self.component, self.meta.rounds)
        set_seed(self.device, self.config["seed"] * 1_000_003 + finished)
        classifier = self.builder.classifier(self.config, tuple(self.spec["shape"])).to(self.device)
        mixture = self.deployed.seeded(int(torch.randint(2**31, ())))
        self.meta.advance(self.game.deployed, *self.meta.reweigh(self.source, mixture, classifier))
        self.source.weigh(self.meta.weights)
        self._start_game()

    @property
    def component(self) -> int | None:
        """Which component of a meta-algorithm is in training, from 1."""
        return len(self.meta.components) + 1 if self.meta else None

    def step(self) -> None:
        kind = self.game.begin(self.clock.step)
        self.source.feed()
        self.rounds(kind)
        self.forgotten()

    def round(self) -> None:
        """What a step does on the device."""
        with self.layers():
            with self.source.counted(self.batches_per_step):
                stats = self.update(self.game, self.d, self.g)
            self.meters.add(columns(stats, self.update))

    def _record_anew(self) -> None:
        """After tensors that a recorded round would know have been replaced."""
        state = State(self.game, {"discriminator": self.d, "generator": self.g}, self.meters, self.device, self.update)
        self.forgotten = Forgotten(state.plain)
        self.rounds: Callable[[Hashable], None] = lambda kind: self.round()
        self.recorded: dict[str, Rounds] = {}  # way -> rounds that are played in it
        # the whole budget, so that a resumed run decides alike
        steps = 0 if self.config["minutes"] else self.plan.game_steps or 0
        compiled = is_wanted(self.config["compile"], steps, self.game.nets, self.device)
        self.layers = faster_layers(self.game.nets, self.device, compiled)
        if compiled:
            self.rounds = self.recorded["compiled"] = Rounds(self.rounds, Compiler(state))
        if self.device.type == "cuda" and self.config["graph"] == "auto":
            self.rounds = self.recorded["CUDA graphs"] = Rounds(self.rounds, CudaGraphs(state, self.round))

    @property
    def way(self) -> str:
        """How steps are played, so far as is known now."""
        return " and ".join(way for way, rounds in self.recorded.items() if rounds.reason is None) or "eager"

    @property
    def recordings(self) -> int:
        """Another number after each step that was recorded or compiled, or could not be."""
        return sum(1 + len(rounds.records) if rounds.reason is None else 0 for rounds in self.recorded.values())

    def train(self, observer: loop.Observer, stop: Callable[[], bool]) -> bool:
        return loop.train(self.step, self.prepare, self.meters, self.plan, self.clock, observer, stop)

    def prepare(self, steps: int) -> None:
        """Host work ahead of so many steps."""
        self.source.prepare(steps * self.batches_per_step)

    def grid(self) -> Tensor:
        return self.deployed.images(self.shown.latents, self.shown.labels)

    @property
    def reference(self) -> Tensor | None:
        return self.spec["points"]

    def evaluate(self, stop: Stop, tell: Told) -> dict[str, Any]:
        """Every chosen metric on samples of the deployed generator; the same draws each time.

        Raises Abandoned at a signal; either way the training state is as before.
        """
        facts = {"device": device_name(self.device)}
        with untouched(self.game, self.device), stop.giving_up():
            return self.metrics(self.deployed, self.dataset, self.config["seed"], tell, facts)

    def diversity(self) -> dict[str, float]:
        """Of samples from the grid's latents, by the weights that train: an average of past ones tells of the past."""
        raw = deployed(self.game, self.config, self.spec, self.builder, raw=True, meta=self.meta)
        measured = self.measure_diversity(raw.images(self.shown.latents, self.shown.labels))
        return {} if measured is None else {"diversity": measured}

    def first_bad_weight(self) -> str | None:
        """Name of a parameter that is not finite; waits for the device, once unless there is one."""
        weights = [(name, each) for name, each in self.game.named_parameters() if each.numel() and _has_fractions(each)]
        largest = torch._foreach_norm([each.detach() for _, each in weights], math.inf)
        if torch.isfinite(torch.stack([each.float() for each in largest])).all():
            return None
        return next((name for name, each in weights if not torch.isfinite(each).all()), None)

    def facts(self) -> dict[str, Any]:
        return {"device": device_name(self.device), "cpu": cpu_model(), "precision": self.precision, "data": self.data}

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.clock.step,
            "seconds": self.clock.seconds,
            "images": self.clock.images,
            "data": self.spec,
            "fingerprint": self.data["fingerprint"],
            "game": self.game.state_dict(),
            "players": {"discriminator": self.d.state_dict(), "generator": self.g.state_dict()},
            "update": state_of(self.update),
            "meters": self.meters.state_dict(),
            "grid": self.shown.state_dict(),
            "meta": self.meta.state_dict() if self.meta else None,
            "component_steps": self.plan.component_steps,
            "rng": get_rng(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["data"]["shape"] != self.spec["shape"]:
            raise UsageError(
                f"this run was trained on data of shape {state['data']['shape']}, not {self.spec['shape']}: go on with "
                "its dataset, or begin another run in another folder"
            )
        check_classes(state["data"], self.spec["names"])
        if state["fingerprint"] != self.data["fingerprint"]:
            log.warning("the data is not what this run was trained on so far: it has changed, or is prepared otherwise")
        self.game.restore(state["game"], int(state["players"]["generator"]["steps"]))
        restore_meta(self.meta, state.get("meta"), self.game)
        self._check_shares(state)
        if self.meta and self.meta.weights is not None:
            if len(self.meta.weights) != self.source.size:
                raise UsageError(
                    f"this run has weighed {len(self.meta.weights)} examples, and the data now has {self.source.size}: "
                    "go on with the data that it was trained on"
                )
            self.source.weigh(self.meta.weights)
        self._deploy()
        self.d.load_state_dict(state["players"]["discriminator"])
        self.g.load_state_dict(state["players"]["generator"])
        restore(self.update, state.get("update"))
        self.meters.load_state_dict(state["meters"])
        self.shown.load_state_dict(state["grid"])
        vars(self.clock).update(vars(clock_of(state, self.images_per_step)))
        set_rng(self.device, state["rng"])
        self._record_anew()


def describe(images: Images, conditional: bool) -> dict[str, Any]:
    """All that sampling must know of the data: plain values and small tensors, for the checkpoint."""
    known = images.labels[images.labels >= 0]
    counts = torch.bincount(known, minlength=images.num_classes).tolist() if conditional and images.names else []
    points = images.pixels[:2000].clone() if images.pixels.dim() == 2 else None
    return {"shape": list(images.shape), "names": list(images.names), "class_counts": counts, "points": points}


def deployed(game: Any, config: dict[str, Any], spec: dict[str, Any], builder: Builder, **options: Any) -> Deployed:
    prior = builder.make("prior", config["prior"])
    return Deployed(game, prior, config["architecture"]["latent_dim"], spec["class_counts"], **options)


def restore_meta(meta: Meta | None, state: dict[str, Any] | None, game: Game) -> None:
    if (meta is None) != (state is None):
        raise UsageError(
            "this run was not trained with meta=...: leave it out, or begin a new run" if meta else
            "this run was trained with meta=...: go on with it, or begin a new run"
        )  # fmt: skip
    if meta and state:
        meta.load_state_dict(state, game.deployed)


def _has_fractions(weight: Tensor) -> bool:
    return weight.is_floating_point() or weight.is_complex()


def device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
