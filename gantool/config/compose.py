"""A command's configuration: without running the command, and with paths that hold in any folder."""

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gantool.config.schema import conf_dir

PATHS = ("dataset.path", "dataset.root", "dataset.cache", "inception_weights")


def composed(*overrides: str, command: str = "train") -> dict[str, Any]:
    """As `gantool train OVERRIDES` would have it, in plain values."""
    import hydra

    import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose(command, list(overrides)), resolve=True)  # type: ignore


def settle_paths(cfg: DictConfig) -> None:
    """Relative ones are of the folder that the run was started in, wherever it is resumed, measured or sampled."""
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value:
            OmegaConf.update(cfg, key, os.path.abspath(os.path.expanduser(value)))
