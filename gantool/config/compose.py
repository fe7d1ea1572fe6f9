"""A command's configuration: without running the command, and with paths that hold in any folder."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gantool.config.schema import conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig


def composed(*overrides: str, command: str = "train") -> dict[str, Any]:
    """As `gantool train OVERRIDES` would have it, in plain values."""
    import hydra
    from omegaconf import OmegaConf

    import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)

    with hydra.initialize_config_dir(str(conf_dir()), job_name=command, version_base="1.3"):
        return OmegaConf.to_container(hydra.compose(command, list(overrides)), resolve=True)  # type: ignore


def settle_paths(cfg: "DictConfig", saved: Mapping[str, Any]) -> None:
    """Relative ones are of the folder that the run was started in, wherever it is resumed, measured or sampled.

    `saved`: the run's configuration so far. A dataset of the user's own has its own idea of a path.
    """
    from omegaconf import OmegaConf

    ours = str(OmegaConf.select(cfg, "dataset._target_")).startswith("gantool.")
    keys = [f"dataset.{key}" for key in ("path", "root", "cache") if ours]
    keys += ["inception_weights", *(f"metric.{name}.weights" for name in cfg.get("metric") or {})]
    before = OmegaConf.create(dict(saved))
    for key in keys:
        value, then = OmegaConf.select(cfg, key), str(OmegaConf.select(before, key))
        if isinstance(value, str) and value:
            same = os.path.isabs(then) and then.endswith(os.sep + os.path.normpath(value))
            OmegaConf.update(cfg, key, then if same else os.path.abspath(os.path.expanduser(value)))
