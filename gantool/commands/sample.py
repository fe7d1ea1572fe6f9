"""gantool sample: renders what a run has learnt, from its folder alone."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, find

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Writes the picture or files of the chosen sampler and says where."""
    from gantool.config.schema import Sample
    from gantool.config.signature import check_root

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    check_root(config, Sample)
    folder, file = find(config["run"])
    written = render(config, folder, file)
    print(written)


def render(config: dict[str, Any], folder: RunFolder, file: Path | None) -> Path:
    import torch

    from gantool.config.build import Builder
    from gantool.engine.precision import choose_device
    from gantool.runs import checkpoint

    path = file or checkpoint.choose(folder, config["checkpoint"])
    state = checkpoint.load(path)
    builder = Builder(tuple(config["trust"]))
    sampler = builder.make("sampler", config["sampler"])
    deployed = load(state, folder, builder, choose_device(config["device"]), config["ema"], config["batch_size"])
    seed = torch.seed() % 2**32 if config["seed"] is None else config["seed"]
    generator = torch.Generator().manual_seed(seed)
    latents = deployed.latents(config["n"], generator, config["truncation"])
    labels = choose_labels(config["classes"], state["data"], config["n"])
    if labels is None:
        labels = deployed.labels(config["n"], generator)
    samples = deployed.images(latents, torch.as_tensor(labels))
    log.info("%d samples of step %d, seed %d", config["n"], state["step"], seed)
    out = Path(config["out"]) if config["out"] else _name(folder, config, state["step"], seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    return sampler(samples, state["data"]["points"], out)


def load(state: dict[str, Any], folder: RunFolder, builder: Any, device: Any, ema: bool | None, batch_size: int) -> Any:
    """A checkpoint's state -> its deployed generator; needs no data."""
    import torch

    from gantool.commands.assembly import deployed
    from gantool.game.types import Images
    from gantool.runs.resume import read_config

    config, spec = read_config(folder.config), state["data"]
    missing = {"architecture", "objective", "prior", "batch_size", "seed"} - config.keys()
    if missing:
        raise UsageError(f"{folder.config} is no configuration of gantool train: it lacks {', '.join(sorted(missing))}")
    if ema and "ema" not in (config.get("trick") or {}):
        raise UsageError(
            "ema=true, but this run kept no average of its weights: leave ema out, or train with trick=[ema]"
        )
    shape = (config["batch_size"], *spec["shape"])
    pixels = torch.zeros(shape, dtype=torch.uint8 if len(spec["shape"]) == 3 else torch.float32)
    blank = Images(pixels, torch.full(shape[:1], -1), tuple(spec["names"]))
    game = builder.game(config, tuple(spec["shape"]), len(spec["names"]), builder.source(config, blank, flip=False))
    try:
        game.load_state_dict(state["game"])
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UsageError(f"the checkpoint does not fit {folder.config}: {reason}") from error
    return deployed(game.to(device), config, spec, builder, raw=ema is False, batch_size=batch_size)


def choose_labels(classes: Sequence[Any] | None, spec: dict[str, Any], n: int) -> list[int] | None:
    """Class names or indices, in turn, for n samples; None = not asked for."""
    if classes is None:
        return None
    if not spec["class_counts"]:
        raise UsageError(
            "classes=... needs a run with architecture.class_conditional=true, and this one has no classes"
        )
    wanted = [_label(item, spec["names"]) for item in (classes if isinstance(classes, list) else [classes])]
    return [wanted[i % len(wanted)] for i in range(n)]


def _label(item: Any, names: Sequence[str]) -> int:
    if str(item) in names:
        return names.index(str(item))
    if isinstance(item, int) and 0 <= item < len(names):
        return item
    raise UsageError(f"classes: there is no class {item!r}; choose among {', '.join(names)}")


def _name(folder: RunFolder, config: dict[str, Any], step: int, seed: int) -> Path:
    stamp = f"seed_{seed}" if config["seed"] is not None else f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}_seed_{seed}"
    kind = config["sampler"]["_target_"].split(".")[-2]
    return folder.samples / f"{kind}_step_{step:08d}_{stamp}"
