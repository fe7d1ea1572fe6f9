"""gantool: a command-line trainer for generative adversarial networks."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gantool.commands.loading import TrainedGenerator

__version__ = "0.1.0"


def load(
    run: str | PathLike[str] = "latest",
    *,
    checkpoint: Literal["last", "best"] | int = "last",
    ema: bool | None = None,
    device: str = "auto",
    batch_size: int = 256,
    trust: Sequence[str] = (),
) -> "TrainedGenerator":
    """The generator of a run, as `gantool sample` takes it: a run's folder, a checkpoint file, or "latest".

    `gantool.load("outputs/cats").sample(16, seed=0)` is a tensor (16, 3, 64, 64) in [-1, 1]. `ema`: averaged weights
    (True) or raw ones (False), None = averaged where there are any; `batch_size`: samples drawn at a time; `trust`:
    packages of your own whose classes the run is made of. Raises gantool.errors.UsageError, which says what to do.
    """
    from gantool.commands.loading import load_run

    options = {"ema": ema, "device": device, "batch_size": batch_size, "trust": trust}
    return load_run(str(run), checkpoint, options)
