"""How long a run takes, when what happens in it, and whether all that is set has a use."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import OmegaConf
from torch.nn.modules.batchnorm import _BatchNorm

from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.engine import loop
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.meta import Meta
from gantool.game.updates import Update

DEFAULT_STEPS = 10_000
ALWAYS = ("diversity", "divergence")  # metrics whose column any run may have
FEWEST = 25  # steps between grids, unless it is said: drawing one takes as long as many steps of a small net
NAMED = 10  # classes that are named at once


def plan_of(config: dict[str, Any], trust: tuple[str, ...]) -> loop.Plan:
    """Budgets in steps, and intervals that suit them where none are given."""
    images_per_step = config["batch_size"] * make_update(config, trust).discriminator_steps
    budgets = [config["steps"], config["images"] and math.ceil(config["images"] / images_per_step)]
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
    return Builder(trust).make("update", config["update"])


def make_meta(config: dict[str, Any], trust: tuple[str, ...]) -> Meta | None:
    node = config.get("meta")
    return Builder(trust).make("meta", node, Meta) if node else None


def check_use(config: Mapping[str, Any], update: Update, game: Game, columns: Collection[str]) -> None:
    """Settings that would change nothing, or cannot be computed, are refused. `columns`: of the metrics."""
    _check_best(config["best"]["metric"], columns)
    objective, steps = game.objective, update.discriminator_steps
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
    thrice = getattr(update, "differentiates_steps", False) and any(hook.slopes for hook in game.hooks.values())
    if thrice and any(isinstance(layer, _BatchNorm) for layer in game.nets["discriminator"].modules()):
        raise UsageError(
            "this update differentiates D's steps, in which a gradient penalty has differentiated D, and BatchNorm has "
            "no third derivative: give architecture.discriminator.normalization=layer, or another update or penalty"
        )


def _check_best(best: str | None, columns: Collection[str]) -> None:
    """A column of a metric that is not chosen is told at once; other names after the first step, which shows them."""
    if best is None or best in columns or best in ALWAYS:
        return
    for path in sorted((conf_dir() / "metric").glob("*.yaml")):
        target = OmegaConf.load(path)._target_
        if best in getattr(Builder().resolve("metric", target), "columns", ()):
            raise UsageError(
                f"best.metric={best} is a column of a metric that is not chosen: choose it too, metric=[{path.stem}]"
            )


def check_classes(saved: Mapping[str, Any], names: Collection[str]) -> None:
    """A run that was told the classes knows them by number. `saved`: `data` of its checkpoint."""
    if saved["class_counts"] and list(saved["names"]) != list(names):
        then, now = (", ".join(each[:NAMED]) or "none" for each in (list(saved["names"]), list(names)))
        raise UsageError(f"this run was trained with the classes {then}, and the data now has {now}: give it its own")
