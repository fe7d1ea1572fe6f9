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
        """The file as it is: to encode a large grid once more takes as long as many steps of a small net."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(path) as image:
            (width, height), channels = image.size, len(image.getbands())
        shown = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=path.read_bytes())
        self.writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="samples", image=shown)]), step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _tag(name: str) -> str:
    """d_loss -> discriminator/loss, so that TensorBoard groups the players."""
    players = {"d": "discriminator", "g": "generator"}
    prefix, _, rest = name.partition("_")
    return f"{players[prefix]}/{rest}" if prefix in players and rest else name
