"""What a run writes while it trains: rows, grids, checkpoints, how far it is. Training waits for none of it."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gantool.runs import checkpoint, curves, pictures, rows, status
from gantool.runs.folder import RunFolder
from gantool.runs.writer import Writer

if TYPE_CHECKING:
    from torch import Tensor


class Records(Writer):
    """Writes in the background, in the order in which it is told. Errors are raised by whatever comes next."""

    def __init__(self, folder: RunFolder, loggers: Mapping[str, Any], keep_last: int):
        super().__init__()
        self.folder, self.loggers, self.keep_last = folder, loggers, keep_last
        self.rows = rows.Rows(folder.rows)
        self.told = 0.0  # when status.json was last written

    def row(self, row: dict[str, Any], columns: dict[str, Any]) -> None:
        """At once: a killed run has the rows of its checkpoints. Loggers get the columns."""
        self.check()
        self.rows.append(row)
        for logger in self.loggers.values():
            self.submit(partial(logger.row, columns))

    def picture(
        self,
        step: int,
        samples: "Tensor",
        columns: int,
        reference: "Tensor | None",
        classes: Sequence[str] | None = None,  # of each sample
    ) -> None:
        self.submit(partial(self._draw, step, samples, columns, reference, classes), "picture")

    def _draw(
        self,
        step: int,
        samples: "Tensor",
        columns: int,
        reference: "Tensor | None",
        classes: Sequence[str] | None,
    ) -> None:
        path = self.folder.grid(step)
        pictures.picture(samples, path, columns=columns, reference=reference, classes=classes)
        for logger in self.loggers.values():
            logger.picture(step, path)

    def checkpoint(self, step: int, state: dict[str, Any], best: dict[str, Any] | None, told: dict[str, Any]) -> None:
        """The state as it is now. status.json names a best checkpoint from when it is there to when it is about to go.

        `told` is merged into the status, too.
        """
        self.wait("checkpoint")  # before there are two copies
        self.submit(partial(self._keep, step, checkpoint.snapshot(state), best, told), "checkpoint")

    def _keep(self, step: int, state: dict[str, Any], best: dict[str, Any] | None, told: dict[str, Any]) -> None:
        checkpoint.save(self.folder.checkpoint(step), state)
        status.update(self.folder, **told, best=best)
        checkpoint.keep(self.folder, self.keep_last, best["step"] if best else None)

    def rescue(self, step: int, state: dict[str, Any], best: dict[str, Any] | None, told: dict[str, Any]) -> None:
        """The same at once, also after what went wrong in the background."""
        self.pool.submit(lambda: None).result()
        self._keep(step, state, best, told)

    def tell(self, **changes: Any) -> None:
        """Merges them into the status."""
        self.submit(partial(status.update, self.folder, **changes), "status")
        self.told = time.monotonic()

    def silent(self) -> bool:
        """Has nobody been told anything for a second, and is nothing about to be told?"""
        return time.monotonic() - self.told > 1 and not self.busy("status")

    def end(self, **changes: Any) -> None:
        """All that is still to be written, the last word, and pictures of the whole run."""
        self.tell(**changes, ended=status.now())
        self.flush()
        for logger in self.loggers.values():
            logger.close()
        written = rows.read(self.folder.rows)
        if written:
            curves.draw(written, self.folder.curves, curves.title_of(status.read(self.folder)))
        pictures.animation(sorted(self.folder.samples.glob("step_*.png")), self.folder.animation)
