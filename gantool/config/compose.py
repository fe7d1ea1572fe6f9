"""A command's configuration without running the command."""

from typing import Any

from gantool.config.schema import conf_dir


def composed(*overrides: str, command: str = "train") -> dict[str, Any]:
    """As `gantool train OVERRIDES` would have it, in plain values."""
    import hydra
    from omegaconf import OmegaConf

    import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose(command, list(overrides)), resolve=True)  # type: ignore
