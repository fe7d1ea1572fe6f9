"""A run's folder -> its generator, which needs no data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, find

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gantool.engine.deploy import Deployed
PARTS = {"format", "step", "data", "game"}  # of every checkpoint
NEEDED = (  # of config.yaml
    "architecture", "batch_size", "dataset", "objective", "prior", "seed", "update", "steps", "images", "minutes",
    "tick_every", "sample_every", "checkpoint_every", "evaluate_every",
)  # fmt: skip
RESUMED = ("players", "meters", "grid", "rng", "seconds", "fingerprint", "best")  # what a training goes on with


class TrainedGenerator:
    """What `gantool.load` returns: a run's generator, and how to draw from it."""

    def __init__(self, deployed: "Deployed", data: dict[str, Any], step: int):
        self.deployed, self.step = deployed, step
        self.shape = tuple(data["shape"])  # of a sample
        self.classes = tuple(data["names"]) if data["class_counts"] else ()  # that can be asked for
        self._data = data

    @property
    def generator(self) -> "nn.Module":
        """(N, Z) latents, (N,) labels -> (N, *shape) in [-1, 1] (points: in the data's unit); -1 where none is asked.

        The module itself, as it was trained: call its `eval()` before you call it.
        """
        return self.deployed.generator

    def latents(self, n: int, seed: int | None = None, truncation: float | None = None) -> "Tensor":
        """(n, Z) on the CPU, fair draws without `truncation`; equal seeds give equal latents on every device."""
        return self.deployed.latents(n, _generator(seed), truncation)

    def sample(
        self,
        n: int = 1,
        seed: int | None = None,
        classes: Sequence[str | int] | str | int | None = None,
        truncation: float | None = None,
    ) -> "Tensor":
        """(n, *shape) on the CPU, images in [-1, 1]: those of `gantool sample` with the same n, seed and classes.

        `classes`: names or indices, in turn; None = as in the data. UsageError where there is no such class. Without a
        seed the draws follow torch.manual_seed.
        """
        import torch

        generator = _generator(seed)
        latents = self.deployed.latents(n, generator, truncation)
        asked = list(classes) if isinstance(classes, Sequence) and not isinstance(classes, str) else classes
        chosen = choose_labels(asked, self._data, n)
        labels = self.deployed.labels(n, generator) if chosen is None else torch.as_tensor(chosen)
        return self.deployed.images(latents, labels)


def load_run(run: str, checkpoint: Any, options: dict[str, Any]) -> TrainedGenerator:
    """What `gantool.load` does; `options` as of `load`."""
    folder, file = find(run, trained=True)
    state = state_of(folder, file, checkpoint)
    return TrainedGenerator(load(state, folder, options), state["data"], state["step"])


def _generator(seed: int | None) -> Any:
    """Without a seed, one that follows from torch's own generator, as any draw of torch does."""
    import torch

    return torch.Generator().manual_seed(int(torch.randint(2**31, ())) if seed is None else seed)


def state_of(folder: RunFolder, file: Path | None, which: Any) -> dict[str, Any]:
    """Of that file, or of the last, the best or a step's checkpoint. A run in training may delete it meanwhile."""
    from gantool.runs import checkpoint

    path = file or checkpoint.choose(folder, which)
    try:
        return read_state(path)
    except UsageError:
        if path.exists():
            raise
        return read_state(file or checkpoint.choose(folder, which))


def saved_state(folder: RunFolder, which: Any) -> dict[str, Any] | None:
    """What a training goes on from; None where there is no checkpoint yet and none is asked for."""
    from gantool.runs import checkpoint

    if not checkpoint.steps(folder) and which == "last":
        return None
    return read_state(checkpoint.choose(folder, which), resumed=True)


def read_state(path: Path, resumed: bool = False) -> dict[str, Any]:
    """A checkpoint of gantool train. UsageError where it is damaged, something else, or too little to be `resumed`."""
    from gantool.runs import checkpoint

    state = checkpoint.load(path)
    missing = sorted({*PARTS, *(RESUMED if resumed else ())} - state.keys())
    if missing:
        kind = "checkpoint to go on from" if state.keys() >= PARTS else "checkpoint of gantool train"
        raise UsageError(f"{path} is no {kind}: it lacks {', '.join(missing)}")
    return state


def trained_with(folder: RunFolder) -> dict[str, Any]:
    """A run's configuration. UsageError where somebody has changed it into one that no run can have."""
    from gantool.config.schema import Train
    from gantool.config.signature import check_saved
    from gantool.runs.resume import read_config

    config = read_config(folder.config)
    missing = ", ".join(name for name in NEEDED if name not in config)
    if missing:
        raise UsageError(f"{folder.config} is no configuration of gantool train: it lacks {missing}")
    check_saved(config, Train, folder.config)
    return config


def load(state: dict[str, Any], folder: RunFolder, options: dict[str, Any]) -> Any:
    """A checkpoint's state -> its deployed generator; needs no data. `options`: trust, device, ema, batch_size."""
    import torch

    from gantool.commands.assembly import deployed, restore_meta
    from gantool.commands.planning import make_meta, plan_of
    from gantool.config.build import Builder
    from gantool.engine.precision import choose_device
    from gantool.game.types import Images

    config, spec, ema = trained_with(folder), state["data"], options["ema"]
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


def choose_labels(classes: Any, spec: dict[str, Any], n: int) -> list[int] | None:
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
    """By name, or by index where no name could be meant by a number."""
    from gantool.commands.planning import listed

    if str(item) in names:
        return names.index(str(item))
    numbers = any(map(str.isdecimal, names))
    if isinstance(item, int) and 0 <= item < len(names) and not numbers:
        return item
    why = " (numbers are names here)" if isinstance(item, int) and numbers else ""
    raise UsageError(f"classes: there is no class {item!r}{why}; choose among {listed(names)}")
