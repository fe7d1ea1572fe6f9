"""A search with Optuna instead of a grid: best.metric is what it seeks, and best.mode says which way is better."""

from omegaconf import DictConfig, OmegaConf

from gantool.config.values import check_value
from gantool.errors import UsageError
from gantool.runs.resume import key_of

DIRECTION = {"min": "minimize", "max": "maximize"}


def aim(config: DictConfig) -> None:
    """Tells Optuna so, in the configuration of a sweep; nothing where another sweeper is chosen.

    Raises UsageError where there is nothing to seek: each trial would be trained for nothing.
    """
    if config.hydra.runtime.choices.get("hydra/sweeper") != "optuna":
        return
    if OmegaConf.select(config, "best.metric") is None:
        raise UsageError("hydra/sweeper=optuna needs to know what to seek: give best.metric=... (and best.mode=max)")
    check_value("best.mode", config.best.mode, 'Literal["min", "max"]')
    direction, sweeper = DIRECTION[config.best.mode], config.hydra.sweeper
    given = {key_of(override): override.partition("=")[2] for override in config.hydra.overrides.hydra}
    if given.get("hydra.sweeper.direction", direction) != direction:
        raise UsageError(f"hydra.sweeper.direction follows best.mode={config.best.mode}: leave it out, or change that")
    sweeper.direction = direction
    if not sweeper.max_failure_rate and "hydra.sweeper.max_failure_rate" not in given:
        sweeper.max_failure_rate = 1.0  # a run that diverges is a trial like others
