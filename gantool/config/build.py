"""Configuration -> objects: the only place that turns a name into a class, and it asks who wrote it first."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from gantool.config import signature
from gantool.config.fit import Choice, misfits
from gantool.engine.source import BatchSource, DeviceSource
from gantool.errors import OWN, UsageError
from gantool.game import promises
from gantool.game.game import Game
from gantool.game.hooks import Objective, Trick
from gantool.game.networks import Discriminator, Generator, Identity
from gantool.game.player import Player
from gantool.game.types import Images, Shape

SHELVES = {  # where the classes of each group live; a run folder could otherwise name any class of gantool
    "dataset": "gantool.datasets",
    "architecture": "gantool.architectures",
    "objective": "gantool.objectives",
    "prior": "gantool.priors",
    "update": "gantool.game.updates",
    "optimizer": "torch.optim",
    "trick": "gantool.tricks",
    "meta": "gantool.meta",
    "metric": "gantool.metrics",
    "logger": "gantool.loggers",
    "sampler": "gantool.samplers",
}
PARTS = "gantool.game.schedules"  # what may stand inside any of them


@dataclass(frozen=True)
class Builder:
    """Builds components of the classes on their group's shelf and in the packages that the user trusts."""

    trust: tuple[str, ...] = ()  # from the command line only, never from a saved config
    budget_steps: int | None = None  # length of the run, for schedules

    def make(
        self,
        key: str,
        node: Mapping[str, Any],
        kind: type | None = None,
        offered: Mapping[str, Any]
        | None = None,  # facts for those constructors, here and inside, that have the argument
        **facts: Any,  # that this constructor must take
    ) -> Any:
        """The component at `node`: `_target_` with its keys as keyword arguments, and facts known only now."""
        maker = self.resolve(key, str(node.get("_target_", "")), kind)
        offered = {"budget_steps": self.budget_steps, **(offered or {})}
        facts |= {name: fact for name, fact in offered.items() if name in inspect.signature(maker).parameters}
        given = {name: value for name, value in node.items() if name != "_target_"}
        options = {name: self._value(f"{key}.{name}", value, offered) for name, value in given.items()}
        _check_options(key, maker, options, facts)
        signature.check_loaded(key, maker, options)
        try:
            return maker(**facts, **options)
        except (ValueError, AssertionError) as error:
            raise UsageError(f"{key}: {error}") from error

    def resolve(self, key: str, target: str, kind: type | None = None) -> type:
        """A dotted path -> a class whose path and true home are both allowed; refuses before it imports."""
        self._refuse_strangers(key, target, target)
        module, _, name = target.rpartition(".")
        try:
            maker = getattr(importlib.import_module(module), name)
        except (SyntaxError, ImportError, AttributeError) as error:
            place = _place_within(error)
            told = f"{place}: {type(error).__name__}: {error}" if place else f"there is no class {target!r} ({error})"
            raise UsageError(f"{key}._target_: {told}") from error
        if not inspect.isclass(maker):
            raise UsageError(f"{key}._target_: {target!r} is no class")
        self._refuse_strangers(key, f"{maker.__module__}.", target)
        if kind is not None and not issubclass(maker, kind):
            raise UsageError(f"{key}._target_: {target!r} is no {kind.__name__}")
        if target.partition(".")[0] not in ("gantool", "torch"):
            OWN.add(target)
        return maker

    def _refuse_strangers(self, key: str, path: str, target: str) -> None:
        if not target:
            raise UsageError(f"{key} has settings but is not selected: select it, or drop it with '~{key}'")
        shelf = SHELVES[key.partition(".")[0]]
        if not any(path.startswith(f"{prefix}.") for prefix in (shelf, PARTS, *self.trust)):
            package, _, rest = target.partition(".")
            if package == "gantool":
                raise UsageError(f"{key}._target_: {target!r} is not one of {shelf}")
            if package in sys.stdlib_module_names:
                raise UsageError(f"{key}._target_: {target!r} is outside gantool and no part of a GAN: it is refused")
            raise UsageError(
                f"{key}._target_: {target!r} is outside gantool. "
                + (
                    f"If you wrote or trust it, say so: 'trust=[{package}]'"
                    if package and rest
                    else "Write MODULE.CLASS"
                )
            )

    def _value(self, key: str, value: Any, offered: Mapping[str, Any] | None = None) -> Any:
        return self.make(key, value, None, offered) if isinstance(value, Mapping) and "_target_" in value else value

    def players(self, game: Game, node: Mapping[str, Any]) -> tuple[Player, Player]:
        """D, and G with whatever parameters the objective has: those that are not frozen."""
        nets, device = game.nets, next(game.nets.parameters()).device
        players = {"discriminator": [nets["discriminator"]], "generator": [nets["generator"], game.objective]}
        d, g = (
            self._player(
                f"optimizer.{name}",
                node[name],
                [weight for part in parts for weight in part.parameters() if weight.requires_grad],
                device,
            )
            for name, parts in players.items()
        )
        return d, g

    def _player(
        self, key: str, node: Mapping[str, Any], parameters: Sequence[nn.Parameter], device: torch.device
    ) -> Player:
        maker = self.resolve(key, str(node.get("_target_", "")), torch.optim.Optimizer)
        options = {name: value for name, value in node.items() if name not in ("_target_", "schedule")}
        _check_options(key, maker, options, {"params": parameters})
        options = {  # betas: torch does not take [0,0.9]
            name: tuple(map(float, value)) if isinstance(value, list) else value for name, value in options.items()
        }
        schedule = self._value(f"{key}.schedule", node["schedule"]) if node.get("schedule") else None
        try:
            return Player(parameters, partial(maker, **options), schedule, device)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{key}: {error}") from error

    def game(self, cfg: Mapping[str, Any], shape: Shape, num_classes: int, source: BatchSource) -> Game:
        """Networks, objective and tricks around a source; checks that they fit each other."""
        choice = self.choice(cfg, shape, num_classes, len(source.labels) - len(source.known))
        _check_fit(choice)
        generator, discriminator = self._networks(cfg, choice)
        layers = [*generator.modules(), *discriminator.modules()]
        if source.batch_size < 2 and any(isinstance(layer, nn.BatchNorm1d) for layer in layers):
            raise UsageError("BatchNorm needs two examples or more to compare: give batch_size=2 or more")
        return Game(generator, discriminator, choice.objective, choice.tricks, source)

    def check(self, cfg: Mapping[str, Any], shape: Shape, num_classes: int) -> None:
        """The same checks, before the data is read, which may take long."""
        choice = self.choice(cfg, shape, num_classes)
        _check_fit(choice)
        self._networks(cfg, choice)

    def _networks(self, cfg: Mapping[str, Any], choice: Choice) -> tuple[Generator, Discriminator]:
        architecture, objective, shape = cfg["architecture"], choice.objective, choice.shape
        classes = choice.num_classes if choice.class_conditional else 0
        generator = self.make(
            "architecture.generator", architecture["generator"], Generator,
            shape=shape, latent_dim=choice.latent_dim, num_classes=classes,
        )  # fmt: skip
        told = classes if objective.tells_class else 0
        facts: dict[str, Any] = {
            "shape": shape, "num_classes": 0 if choice.projection else told, "logits": objective.logits
        }  # fmt: skip
        if objective.critic:
            discriminator = self.make(
                "architecture.discriminator", architecture["discriminator"], Discriminator, **facts
            )
        else:
            discriminator = Identity(**facts)
        if choice.projection:
            discriminator.project(told)
        for name, net in (("generator", generator), ("discriminator", discriminator)):
            if any(map(nn.parameter.is_lazy, net.parameters())):
                raise UsageError(f"architecture.{name} has lazy layers, which cannot be trained: give them their sizes")
        return generator, discriminator

    def classifier(self, cfg: Mapping[str, Any], shape: Shape) -> nn.Module:
        """A further discriminator of the run's architecture, which is told no class and says one number."""
        node = cfg["architecture"]["discriminator"]
        return self.make("architecture.discriminator", node, Discriminator, shape=shape, num_classes=0, logits=1)

    def choice(self, cfg: Mapping[str, Any], shape: Shape, num_classes: int, unlabelled: int = 0) -> Choice:
        """Objective and tricks, and what they must fit."""
        architecture, node = cfg["architecture"], cfg["objective"]
        facts = {"num_classes": num_classes, "conditional": architecture["class_conditional"]}
        objective = self.make("objective", node, Objective, facts)
        tricks = {name: self.make(f"trick.{name}", each, Trick) for name, each in (cfg.get("trick") or {}).items()}
        taken = next((name for name in tricks if hasattr(nn.ModuleDict, name) or name in vars(nn.Module())), None)
        if taken:
            raise UsageError(f"trick={taken}: torch's modules have something of that name: call the trick otherwise")
        return Choice(
            name=f"objective {str(node['_target_']).split('.')[-2]}",
            objective=objective,
            tricks=tricks,
            discriminator=self.resolve(
                "architecture.discriminator", architecture["discriminator"].get("_target_", ""), Discriminator
            ),
            latent_dim=architecture["latent_dim"],
            shape=shape,
            num_classes=num_classes,
            unlabelled=unlabelled,
            class_conditional=architecture["class_conditional"],
            projection=architecture["projection"],
            classifies=bool(cfg.get("meta")),
        )

    def source(
        self, cfg: Mapping[str, Any], images: Images, flip: bool, kind: type[BatchSource] = DeviceSource
    ) -> BatchSource:
        prior = self.make("prior", cfg["prior"])
        promises.latents(prior, 2, cfg["architecture"]["latent_dim"])
        return kind(images, prior, cfg["architecture"]["latent_dim"], cfg["batch_size"], cfg["seed"], flip)


def _check_fit(choice: Choice) -> None:
    for sentence in misfits(choice):
        raise UsageError(sentence)


def _place_within(error: Exception) -> str:
    """`my_gan/mine.py, line 3`: where a module that is there fails to be imported; "" where it is not there."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    within = [place for place in frames[1:] if not place[0].startswith((importlib.__file__, "<frozen"))]
    return "{}, line {}".format(*within[-1]) if within else ""


def _check_options(key: str, maker: type, options: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Keys of classes that have no readable signature in gantool (torch.optim, the user's own)."""
    known = inspect.signature(maker).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in options:
        if name not in known and not open_ended:
            raise signature.unknown_key(f"{key}.{name}", [other for other in known if other not in facts])
    for name in facts:
        if name not in known and not open_ended:
            raise UsageError(f"{key}: {maker.__qualname__} must take the argument {name!r}, which gantool passes to it")
    for name, parameter in known.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        required = parameter.default is parameter.empty and named
        if required and name not in options and name not in facts:
            raise UsageError(f"{key}.{name} is missing: give {key}.{name}=...")
