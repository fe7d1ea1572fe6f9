"""gantool sample: renders what a run has learnt, from its folder alone."""

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, find

log = logging.getLogger(__name__)
LONGEST = 60  # characters of classes in a file's name


def run(cfg: DictConfig) -> None:
    """Writes the picture or files of the chosen sampler and says where."""
    from gantool.config.schema import Sample
    from gantool.config.signature import check_root

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    check_root(config, Sample)
    folder, file = find(config["run"], trained=True)
    written = render(config, folder, file)
    print(written)


def render(config: dict[str, Any], folder: RunFolder, file: Path | None) -> Path:
    import torch

    from gantool.config.build import Builder
    from gantool.runs.resume import read_config

    state, trained = state_of(folder, file, config["checkpoint"]), read_config(folder.config)
    if config["format"] != "png" and "format" not in config["sampler"]:
        raise UsageError(f"format={config['format']} is of sampler=dump: add that, or leave it out")
    chosen = choose_labels(config["classes"], state["data"], config["n"])
    sampler = Builder(tuple(config["trust"])).make("sampler", config["sampler"])
    if chosen is not None and getattr(sampler, "columns", 0) is None:
        asked = len(config["classes"]) if isinstance(config["classes"], list) else 1
        sampler.columns = whole_columns(asked, config["n"] / (1 + getattr(sampler, "neighbours", 0)))
    deployed = load(state, folder, config)
    seed = torch.seed() % 2**32 if config["seed"] is None else config["seed"]
    generator = torch.Generator().manual_seed(seed)
    latents = deployed.latents(config["n"], generator, config["truncation"])
    labels = deployed.labels(config["n"], generator) if chosen is None else torch.as_tensor(chosen)
    if hasattr(sampler, "arrange"):  # it renders latents of its own choice
        latents, labels = sampler.arrange(latents, labels, deployed)
    if hasattr(sampler, "classes") and deployed.class_counts.numel():
        sampler.classes(labels, state["data"]["names"])
    compares = hasattr(sampler, "see")  # samples with the data
    node = dataset_of(trained, config["dataset"]) if compares or config["dataset"] else {}
    if compares:
        dataset = Builder(tuple(config["trust"])).make("dataset", node)
        sampler.see(training_data(dataset, trained, state))
    out = _out(config, getattr(sampler, "format", None) == "png", _name(folder, config, state["step"], seed))
    written = sampler(deployed.batches(latents, labels), state["data"]["points"], out)
    log.info("%d samples of step %d, seed %d", len(latents), state["step"], seed)
    return written


def state_of(folder: RunFolder, file: Path | None, which: Any) -> dict[str, Any]:
    """Of that file, or of the last, the best or a step's checkpoint. A run in training may delete it meanwhile."""
    from gantool.commands.assembly import read_state
    from gantool.runs import checkpoint

    path = file or checkpoint.choose(folder, which)
    try:
        return read_state(path)
    except UsageError:
        if path.exists():
            raise
        return read_state(file or checkpoint.choose(folder, which))


def load(state: dict[str, Any], folder: RunFolder, options: dict[str, Any]) -> Any:
    """A checkpoint's state -> its deployed generator; needs no data. `options`: trust, device, ema, batch_size."""
    import torch

    from gantool.commands.assembly import deployed, restore_meta
    from gantool.commands.planning import make_meta, plan_of
    from gantool.config.build import Builder
    from gantool.engine.precision import choose_device
    from gantool.game.types import Images
    from gantool.runs.resume import read_config

    config, spec, ema = read_config(folder.config), state["data"], options["ema"]
    missing = {"architecture", "objective", "prior", "update", "batch_size", "seed", "steps"} - config.keys()
    if missing:
        raise UsageError(f"{folder.config} is no configuration of gantool train: it lacks {', '.join(sorted(missing))}")
    if ema and "ema" not in (config.get("trick") or {}):
        raise UsageError(
            "ema=true, but this run kept no average of its weights: leave ema out, or train with trick=[ema]"
        )
    trust = tuple(options["trust"])
    builder = Builder(trust, plan_of(config, trust).game_steps)
    shape = (config["batch_size"], *spec["shape"])
    pixels = torch.zeros(shape, dtype=torch.uint8 if len(spec["shape"]) == 3 else torch.float32)
    blank = Images(pixels, torch.full(shape[:1], 0 if spec["names"] else -1), tuple(spec["names"]))
    game = builder.game(config, tuple(spec["shape"]), len(spec["names"]), builder.source(config, blank, flip=False))
    game.restore(state["game"])
    game = game.to(choose_device(options["device"]))
    meta = make_meta(config, trust)
    restore_meta(meta, state.get("meta"), game)
    return deployed(game, config, spec, builder, raw=ema is False, batch_size=options["batch_size"], meta=meta)


def dataset_of(trained: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The run's dataset, with what has changed since."""
    from gantool.config.signature import check_component

    node = {**trained["dataset"], **changes}
    check_component("dataset", node)
    return node


def training_data(dataset: Any, config: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """The training split (Images) as a run has seen it; warns where it is not what the run was trained on."""
    from gantool.commands.planning import check_classes
    from gantool.game import images

    data = images.hide_labels(images.loaded(dataset), config.get("labels"), config["seed"])
    if list(data.shape) != state["data"]["shape"]:
        raise UsageError(f"the data now has the shape {list(data.shape)}, not the run's {state['data']['shape']}")
    check_classes(state["data"], data.names)
    if images.fingerprint(data) != state["fingerprint"]:
        log.warning("the data is not what this run was trained on: it has changed, or is prepared otherwise")
    return data


def choose_labels(classes: Sequence[Any] | None, spec: dict[str, Any], n: int) -> list[int] | None:
    """Class names or indices, in turn, for n samples; None = not asked for."""
    if classes is None:
        return None
    if not spec["class_counts"]:
        raise UsageError(
            "classes=... needs a run with architecture.class_conditional=true, and this one has no classes"
        )
    if classes == []:
        raise UsageError("classes=[] asks for none: name some, or leave it out")
    wanted = [_label(item, spec["names"]) for item in (classes if isinstance(classes, list) else [classes])]
    return [wanted[i % len(wanted)] for i in range(n)]


def _label(item: Any, names: Sequence[str]) -> int:
    if str(item) in names:
        return names.index(str(item))
    if isinstance(item, int) and 0 <= item < len(names):
        return item
    raise UsageError(f"classes: there is no class {item!r}; choose among {', '.join(names)}")


def whole_columns(classes: int, n: float) -> int:
    """Samples in a row, so that a column is of one class, and the grid as square as can be."""
    return classes * max(1, round(n**0.5 / classes))


def _out(config: Mapping[str, Any], many: bool, usual: Path) -> Path:
    """The file or folder that is given; `many` files fill a folder, one goes into it by run and usual name."""
    if not config["out"]:
        return usual
    out = Path(config["out"]).expanduser()
    name = f"{usual.absolute().parents[1].name}_{usual.name}"
    return out / name if not many and (out.is_dir() or config["out"].endswith("/")) else out


def _name(folder: RunFolder, config: dict[str, Any], step: int, seed: int) -> Path:
    stamp = f"seed_{seed}" if config["seed"] is not None else f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}_seed_{seed}"
    kind = config["sampler"]["_target_"].split(".")[-2] + (
        f"_{config['sampler']['code']}" if "code" in config["sampler"] else ""
    )
    classes = config["classes"] if isinstance(config["classes"], list) else [config["classes"]]
    words = "+".join(re.sub(r"[^\w-]+", "-", str(each)) for each in classes)
    stamp += f"_classes_{words[:LONGEST]}" if config["classes"] is not None else ""
    stamp += f"_truncation_{config['truncation']:g}" if config["truncation"] is not None else ""
    return folder.samples / f"{kind}_step_{step:08d}_{stamp}"
