"""How long a run takes, and when what happens in it."""

import math
from typing import Any

from gantool.config.build import Builder
from gantool.engine import loop
from gantool.errors import UsageError
from gantool.game.meta import Meta
from gantool.game.updates import Update

DEFAULT_STEPS = 10_000


def plan_of(config: dict[str, Any], trust: tuple[str, ...]) -> loop.Plan:
    """Budgets in steps, and intervals that suit them where none are given."""
    images_per_step = config["batch_size"] * make_update(config, trust).discriminator_steps
    budgets = [config["steps"], config["images"] and math.ceil(config["images"] / images_per_step)]
    steps = min((budget for budget in budgets if budget), default=None if config["minutes"] else DEFAULT_STEPS)
    meta = make_meta(config, trust)
    return loop.Plan(
        steps=steps,
        minutes=config["minutes"],
        tick_every=config["tick_every"] or (max(1, min(100, steps // 100)) if steps else 50),
        sample_every=config["sample_every"] or (max(1, steps // 40) if steps else 500),
        checkpoint_every=config["checkpoint_every"] or (max(1, steps // 10) if steps else 1000),
        evaluate_every=config["evaluate_every"],
        component_steps=steps_each(meta, steps) if meta else None,
    )


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
