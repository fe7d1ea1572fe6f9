"""A search with Optuna instead of a grid: best.metric is what it seeks, and best.mode says which way is better."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gantool.config.values import check_value
from gantool.errors import UsageError
from gantool.runs.resume import key_of

DIRECTION = {"min": "minimize", "max": "maximize"}
RATE = "hydra.sweeper.max_failure_rate"


def aimed(overrides: Sequence[str], compose: Callable[[list[str]], Mapping[str, Any]]) -> list[str]:
    """What Optuna has to be told beside these overrides of a sweep; nothing where it is not asked for.

    `compose` makes the configuration of overrides. Raises UsageError where there is nothing to seek: each trial would
    be trained for nothing.
    """
    given = {key_of(override): override.partition("=")[2] for override in overrides}
    if given.get("hydra/sweeper") != "optuna":
        return []
    chosen = [one for one in overrides if key_of(one).partition(".")[0] in ("experiment", "best")]
    best = compose(chosen).get("best")
    if not isinstance(best, Mapping) or best.get("metric") is None:
        raise UsageError("hydra/sweeper=optuna needs to know what to seek: give best.metric=... (and best.mode=max)")
    check_value("best.mode", best["mode"], 'Literal["min", "max"]')
    direction = DIRECTION[best["mode"]]
    if given.get("hydra.sweeper.direction", direction) != direction:
        raise UsageError(f"hydra.sweeper.direction follows best.mode={best['mode']}: leave it out, or change best.mode")
    settings = [f"hydra.sweeper.direction={direction}"]
    return settings if RATE in given else [*settings, f"{RATE}=1"]  # a run that diverges is a trial like others
