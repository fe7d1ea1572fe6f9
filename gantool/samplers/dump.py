"""Samples for other tools."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.images import to_uint8
from gantool.runs.folder import write_atomically


class Dump:
    """N PNG files in a folder, or one .npz with `images`, uint8 (N, H, W, C), or `points`, float32 (N, P)."""

    def __init__(self, format: Literal["png", "npz"] = "png"):
        self.format = format

    def __call__(self, samples: Tensor, reference: Tensor | None, out: Path) -> Path:
        """(N, *data shape) on the CPU -> the folder or file written."""
        if self.format == "npz":
            out = out if out.suffix.lower() == ".npz" else out.with_name(out.name + ".npz")
            arrays = {"images": _pixels(samples)} if samples.dim() == 4 else {"points": samples.numpy()}
            write_atomically(out, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
            return out
        if samples.dim() != 4 or samples.shape[1] not in (1, 3):
            raise UsageError("PNG files hold grey or RGB images, not this data: take format=npz")
        out.mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(_pixels(samples)):
            picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            write_atomically(out / f"{i:06d}.png", lambda file, picture=picture: picture.save(file, "PNG"))  # type: ignore[misc]
        return out


def _pixels(samples: Tensor) -> np.ndarray:
    return to_uint8(samples).permute(0, 2, 3, 1).contiguous().numpy()
