"""How long a run takes, when what happens in it, and whether all that is set has a use."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import OmegaConf
from torch.nn.modules.batchnorm import _BatchNorm

from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.config.signature import suggestion
from gantool.engine import loop
from gantool.errors import UsageError
from gantool.game.ahead import check_differentiable
from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.meta import Meta
from gantool.game.player import Player
from gantool.game.promises import callable_as
from gantool.game.updates import Update
from gantool.runs.folder import RunFolder
from gantool.runs.rows import kind
from gantool.runs.text import duration

DEFAULT_STEPS = 10_000
ALWAYS = ("diversity", "divergence")  # metrics whose column any run may have
log = logging.getLogger(__name__)
FEWEST = 25  # steps between grids, unless it is said: drawing one takes as long as many steps of a small net
NAMED = 10  # classes that are named at once


def clock_of(state: Mapping[str, Any] | None, images_per_step: int) -> loop.Clock:
    """How far a run has come by its checkpoint. Older ones did not count images: as if all steps had shown as many."""
    if state is None:
        return loop.Clock(images_per_step=images_per_step)
    images = state.get("images", state["step"] * images_per_step)
    return loop.Clock(state["step"], state["seconds"], images, images_per_step)


def plan_of(config: dict[str, Any], trust: tuple[str, ...], state: Mapping[str, Any] | None = None) -> loop.Plan:
    """Budgets in steps, and intervals that suit them where none are given.

    `state`: the checkpoint that a run goes on from, whose steps may have shown more images or fewer than those to come.
    """
    clock = clock_of(state, config["batch_size"] * make_update(config, trust).discriminator_steps)
    left = config["images"] and max(0, math.ceil((config["images"] - clock.images) / clock.images_per_step))
    budgets = [config["steps"], config["images"] and clock.step + left]
    steps = min((budget for budget in budgets if budget), default=None if config["minutes"] else DEFAULT_STEPS)
    meta = make_meta(config, trust)
    return loop.Plan(
        steps=steps,
        minutes=config["minutes"],
        tick_every=config["tick_every"] or (steps and max(1, min(100, steps // 100))),
        sample_every=config["sample_every"] or (steps and max(FEWEST, steps // 40)),
        checkpoint_every=config["checkpoint_every"] or (steps and max(1, steps // 10)),
        evaluate_every=config["evaluate_every"],
        component_steps=steps_each(meta, steps) if meta else None,
        **_by_time(config),
    )


def _by_time(config: dict[str, Any]) -> dict[str, float]:
    """Of a budget in minutes 100 rows, 40 grids and 10 checkpoints, unless they are asked for by steps; and however
    long a run is, a row a minute, where its budget is one of time, and a checkpoint every ten."""
    seconds = 60 * (config["minutes"] or math.inf)
    every = {"tick": min(seconds / 100, 60.0), "sample": max(seconds / 40, 1.0)} if config["minutes"] else {}
    every["checkpoint"] = max(min(seconds / 10, 600.0), 1.0)
    return {f"{name}_seconds": value for name, value in every.items() if not config[f"{name}_every"]}


def steps_each(meta: Meta, steps: int | None) -> int:
    """Of each component."""
    if steps is None:
        raise UsageError(
            "meta=... shares out the budget among its components: give it in steps or images, minutes only beside them"
        )
    if steps < meta.rounds:
        raise UsageError(f"a budget of {steps} steps is too small for {meta.rounds} components: give a larger one")
    return steps // meta.rounds


def make_update(config: dict[str, Any], trust: tuple[str, ...]) -> Update:
    update = Builder(trust).make("update", config["update"])
    callable_as(update, "update", "game", "d", "g")
    callable_as(update, "update", "game", method="real_batches")
    steps = getattr(update, "discriminator_steps", None)
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(
            f"update: {type(update).__name__}.discriminator_steps must be how many batches of reals a step shows D"
        )
    return update


def make_loggers(builder: Builder, nodes: Mapping[str, Any], folder: RunFolder, step: int) -> dict[str, Any]:
    """By name. UsageError for one that cannot be told what it will be told."""
    made: dict[str, Any] = {}
    for name, node in nodes.items():
        made[name] = builder.make(f"logger.{name}", node, folder=folder.events(name), step=step)
        for method, arguments in {"row": ["row"], "picture": ["step", "path"], "close": []}.items():
            callable_as(made[name], f"logger.{name}", *arguments, method=method)
    return made


def finished(
    folder: RunFolder, clock: loop.Clock, measured: Mapping[str, float | None], best: Mapping[str, Any] | None
) -> None:
    """Tells where what a run has made lies."""
    log.info("done at step %d after %s of training", clock.step, duration(clock.seconds))
    log.info("samples    %s", folder.grid(clock.step))
    log.info("animation  %s", folder.animation)
    found = [f"{name} {value:.5g}" for name, value in measured.items() if value is not None]
    if found:
        log.info("measured   %s", "  ".join(found))
    log.info("metrics    %s and %s", folder.rows, folder.curves)
    log.info("checkpoint %s", folder.checkpoint(clock.step))
    if best and best["step"] != clock.step:
        log.info("best       %s  %s %.5g", folder.checkpoint(best["step"]), best["metric"], best["value"])


def make_meta(config: dict[str, Any], trust: tuple[str, ...]) -> Meta | None:
    node = config.get("meta")
    return Builder(trust).make("meta", node, Meta) if node else None


def check_use(config: Mapping[str, Any], update: Update, game: Game, d: Player, columns: Collection[str]) -> None:
    """Settings that would change nothing, or cannot be computed, are refused. `columns`: of the metrics."""
    _check_best(config["best"]["metric"], columns, game.objective, update)
    objective, steps = game.objective, config["update"].get("discriminator_steps", 1)
    if not objective.critic and steps > 1:
        raise UsageError(f"update.discriminator_steps={steps}: this objective has no discriminator: leave it out")
    if not objective.critic and getattr(update, "shared_fakes", False):
        raise UsageError("update.shared_fakes=true: this objective has no discriminator that shares: leave it out")
    used = config["architecture"]["class_conditional"] or objective.needs_labelled or objective.needs_classes
    if config["labels"] and not used:
        raise UsageError(
            f"labels={config['labels']} hides classes that this objective does not look at: leave it out, or "
            "take objective=semi_supervised or auxiliary_classifier"
        )
    if objective.needs_lipschitz and not any(trick.lipschitz for trick in game.tricks.values()):
        raise UsageError(
            "this objective needs a critic of bounded slope, and normalisation in D, or minibatch_discrimination, "
            "undoes what trick.spectral_norm bounds: give architecture.discriminator.normalization=none and drop the "
            "other, or add trick=[gradient_penalty] or [weight_clipping]"
        )
    if getattr(update, "unrolled_steps", 0):
        _check_ahead(game, d)
    thrice = getattr(update, "differentiates_steps", False) and any(hook.slopes for hook in game.hooks.values())
    if thrice and any(isinstance(layer, _BatchNorm) for layer in game.nets["discriminator"].modules()):
        raise UsageError(
            "this update differentiates D's steps, in which a gradient penalty has differentiated D, and BatchNorm has "
            "no third derivative: give architecture.discriminator.normalization=layer, or another update or penalty"
        )


def _check_ahead(game: Game, d: Player) -> None:
    """Can D's steps be looked ahead of?"""
    if not game.objective.critic:
        raise UsageError("update=unrolled looks ahead of a discriminator, and this objective has none: leave it out")
    check_differentiable(d.optimizer)
    for name, hook in game.hooks.items():
        if hook.of_weights:
            raise UsageError(
                f"trick.{name} acts on D's weights themselves, of which update=unrolled cannot look ahead: drop it, or "
                "take another update"
            )


def _check_best(best: str | None, columns: Collection[str], objective: Objective, update: Update) -> None:
    """What can be no column is told at once; names of players' statistics after the first step, which shows them."""
    if best is None or best in columns or best in ALWAYS:
        return
    for path in sorted((conf_dir() / "metric").glob("*.yaml")):
        target = OmegaConf.load(path)._target_
        if best in getattr(Builder().resolve("metric", target), "columns", ()):
            raise UsageError(
                f"best.metric={best} is a column of a metric that is not chosen: choose it too, metric=[{path.stem}]"
            )
    ours = type(update).__module__.startswith("gantool.") and type(objective).report is Objective.report
    if ours and kind(best) == "metric" and best not in getattr(update, "columns", ()):
        known = {*columns, *ALWAYS}
        raise UsageError(
            f"best.metric={best} is no column of metrics.jsonl; {suggestion(best, known)}, and those of the players; "
            "columns of a metric are there if it is chosen, metric=[...]"
        )


def listed(names: Collection[str], most: int | None = None) -> str:
    """Names of classes in a line, in quotes where they have a comma or a space; `most` of them at most."""
    shown = [name if re.fullmatch(r"[^\s,]+", name) else repr(name) for name in list(names)[:most]]
    return ", ".join(shown) + (", ..." if len(shown) < len(names) else "")


def check_classes(saved: Mapping[str, Any], names: Collection[str]) -> None:
    """A run that was told the classes knows them by number. `saved`: `data` of its checkpoint."""
    if saved["class_counts"] and list(saved["names"]) != list(names):
        then, now = (listed(each, NAMED) or "none" for each in (saved["names"], names))
        raise UsageError(f"this run was trained with the classes {then}, and the data now has {now}: give it its own")


def tell_idle(config: Mapping[str, Any], measures: bool) -> None:
    """Settings of metrics, where none is chosen."""
    for key in ("evaluate_every", "truncation"):
        if config[key] and not measures:
            log.warning("%s=%s has nothing to measure: choose metrics too, metric=[...]", key, config[key])
