"""Events for TensorBoard."""

import math
from pathlib import Path
from typing import Any


class TensorBoard:
    """Every column of metrics.jsonl as a scalar and every sample grid as an image, in RUN/tensorboard."""

    def __init__(
        self, folder: Path, step: int
    ):  # step: where the run goes on; later events of an earlier try are hidden
        self.folder, self.step = folder, step
        self._writer: Any = None

    @property
    def writer(self) -> Any:
        """Opened with the first event: importing TensorBoard takes a while."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self.step + 1 if self.step else None)
        return self._writer

    def row(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name not in ("step", "images") and value is not None and math.isfinite(value):
                self.writer.add_scalar(_tag(name), value, int(row["step"]))

    def picture(self, step: int, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _tag(name: str) -> str:
    """d_loss -> discriminator/loss, so that TensorBoard groups the players."""
    players = {"d": "discriminator", "g": "generator"}
    prefix, _, rest = name.partition("_")
    return f"{players[prefix]}/{rest}" if prefix in players and rest else name
