"""Samples for other tools."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.images import to_uint8
from gantool.runs.folder import ending, write_atomically


class Dump:
    """N PNG files in a folder, or one .npz with `images`, uint8 (N, H, W, C), or `points`, float32 (N, P).

    Where samples have a class it is in the name of the file, and in `labels`, int64 (N,), and `names` (classes,).
    """

    def __init__(self, format: Literal["png", "npz"] = "png"):
        self.format, self.labels, self.names = format, Tensor(), tuple[str, ...]()

    def classes(self, labels: Tensor, names: Sequence[str]) -> None:
        """(N,) those of the samples, and what they are called, which it is told before it is called."""
        self.labels, self.names = labels, tuple(names)

    def __call__(self, batches: Iterable[Tensor], reference: Tensor | None, out: Path) -> Path:
        """Batches (N, *data shape) on the CPU -> the folder or file written."""
        return self._arrays(batches, out) if self.format == "npz" else self._pictures(batches, out)

    def _arrays(self, batches: Iterable[Tensor], out: Path) -> Path:
        out = ending(out, ".npz")
        parts = [_pixels(batch) if batch.dim() == 4 else batch.numpy() for batch in batches]
        name = "images" if parts[0].ndim == 4 else "points"
        arrays = {name: np.concatenate(parts)}
        if self.names:
            arrays |= {"labels": self.labels.numpy(), "names": np.array(self.names)}
        write_atomically(out, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
        return out

    def _pictures(self, batches: Iterable[Tensor], out: Path) -> Path:
        if out.suffix == ".npz":
            raise UsageError(f"{out} is the name of one file, and sampler=dump writes many PNG files: add format=npz")
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty, and samples of two kinds would mix: give another out=")
        number = 0
        for batch in batches:
            if batch.dim() != 4 or batch.shape[1] not in (1, 3):
                raise UsageError("PNG files hold grey or RGB images, not this data: take format=npz")
            for pixels in _pixels(batch):
                picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
                kind = f"_{_word(self.names[self.labels[number]])}" if self.names else ""
                write_atomically(out / f"{number:06d}{kind}.png", partial(picture.save, format="PNG"))
                number += 1
        return out


def _word(name: str) -> str:
    """T-shirt/top -> T-shirt-top: a class as a part of a file's name, on any system."""
    return re.sub(r"[^\w-]+", "-", name)


def _pixels(samples: Tensor) -> np.ndarray:
    return to_uint8(samples).permute(0, 2, 3, 1).contiguous().numpy()
