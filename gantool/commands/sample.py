"""gantool sample: renders what a run has learnt, from its folder alone."""

import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, find

log = logging.getLogger(__name__)
LONGEST = 60  # characters of classes in a file's name
USUAL = {"n": None, "columns": None, "ema": None, "truncation": None}  # which a file's name does not say


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

    from gantool.commands.loading import choose_labels, load, state_of, trained_with
    from gantool.commands.showing import whole_columns
    from gantool.config.build import Builder
    from gantool.game.promises import callable_as

    state, trained = state_of(folder, file, config["checkpoint"]), trained_with(folder)
    if config["format"] != "png" and "format" not in config["sampler"]:
        raise UsageError(f"format={config['format']} is of sampler=dump: add that, or leave it out")
    sampler = Builder(tuple(config["trust"])).make("sampler", config["sampler"])
    n = config["n"] or _enough(sampler, state["data"]["shape"])
    chosen = choose_labels(config["classes"], state["data"], n)
    if chosen is not None and getattr(sampler, "columns", 0) is None:
        asked = len(config["classes"]) if isinstance(config["classes"], list) else 1
        sampler.columns = whole_columns(asked, n / (1 + getattr(sampler, "neighbours", 0)))
    deployed = load(state, folder, config)
    seed = torch.seed() % 2**32 if config["seed"] is None else config["seed"]
    generator = torch.Generator().manual_seed(seed)
    latents = deployed.latents(n, generator, config["truncation"])
    labels = deployed.labels(n, generator) if chosen is None else torch.as_tensor(chosen)
    if hasattr(sampler, "arrange"):  # it renders latents of its own choice
        latents, labels = sampler.arrange(latents, labels, deployed)
    if hasattr(sampler, "classes") and deployed.class_counts.numel():
        sampler.classes(labels, state["data"]["names"])
    compares = hasattr(sampler, "see")  # samples with the data
    node = dataset_of(trained, config["dataset"]) if compares or config["dataset"] else {}
    if compares:
        dataset = Builder(tuple(config["trust"])).make("dataset", node)
        sampler.see(training_data(dataset, trained, state), dataset.flip)
    out = _out(config, getattr(sampler, "format", None) == "png", _name(folder, config, sampler, state["step"], seed))
    callable_as(sampler, "sampler", "batches", "reference", "out")
    written = sampler(deployed.batches(latents, labels), state["data"]["points"], out)
    if not isinstance(written, Path) or not written.exists():
        raise UsageError(f"sampler: {type(sampler).__name__} must give the Path that it has written, not {written!r}")
    log.info("%d samples of step %d, seed %d", len(latents), state["step"], seed)
    return written


def _enough(sampler: Any, shape: list[int]) -> int:
    """Samples where n is not given: a cloud of points takes more than a grid, or rows of points that are joined."""
    from gantool.commands.showing import IMAGES, POINTS

    joined = hasattr(sampler, "arrange") or hasattr(sampler, "see")
    return IMAGES if len(shape) == 3 or joined else POINTS


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


def _out(config: Mapping[str, Any], many: bool, usual: Path) -> Path:
    """The file or folder that is given; `many` files fill a folder, one goes into it by run and usual name."""
    if not config["out"]:
        return usual
    out = Path(config["out"]).expanduser()
    name = f"{usual.absolute().parents[1].name}_{usual.name}"
    return out / name if not many and (out.is_dir() or config["out"].endswith("/")) else out


def _name(folder: RunFolder, config: dict[str, Any], sampler: Any, step: int, seed: int) -> Path:
    """Another one for each other picture: what is not as usual is in it."""
    stamp = f"seed_{seed}" if config["seed"] is not None else f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}_seed_{seed}"
    kind = config["sampler"]["_target_"].split(".")[-2] + (
        f"_{config['sampler']['code']}" if "code" in config["sampler"] else ""
    )
    classes = config["classes"] if isinstance(config["classes"], list) else [config["classes"]]
    stamp += f"_classes_{_word(*classes)}" if config["classes"] is not None else ""
    for name, value in _unusual(config, sampler):
        stamp += f"_{name}_{value:g}" if isinstance(value, float) else f"_{name}_{_word(value)}"
    return folder.samples / f"{kind}_step_{step:08d}_{stamp}"


def _unusual(config: dict[str, Any], sampler: Any) -> Iterator[tuple[str, Any]]:
    """What of the command and of its sampler is not at its default, but what a name has anyway."""
    yield from ((name, config[name]) for name, usual in USUAL.items() if config[name] != usual)
    known = inspect.signature(type(sampler)).parameters
    for name, value in config["sampler"].items():
        if name not in ("_target_", "code", "columns", "format") and name in known and value != known[name].default:
            yield name, value


def _word(*values: Any) -> str:
    """`cat+dog`, as part of a file's name. What it leaves out of them has a mark behind it."""
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    word = "+".join(re.sub(r"[^\w-]+", "-", text) for text in texts)[:LONGEST]
    return word if word == "+".join(texts) else f"{word}_{blake2b(repr(texts).encode(), digest_size=3).hexdigest()}"
