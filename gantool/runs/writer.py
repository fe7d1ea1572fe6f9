"""Files written in the background, so that training does not wait for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self


class Writer:
    """One thread that works off jobs in turn. After one that fails no other is begun: what is told stays in order.

    No job computes with torch: that would begin a second pool of threads, and GNU's OpenMP lets no thread spin where
    there are more of them than cores, so that from then on every step of a small net takes twice as long.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "writer")
        self.latest: dict[str, Future[None]] = {}  # job of each kind
        self.error: BaseException | None = None

    def submit(self, job: Callable[[], object], kind: str | None = None) -> None:
        """Of a kind at most one job waits or runs: the next waits for it here. Raises what went wrong before."""
        if kind:
            self.wait(kind)
        self.check()
        submitted = self.pool.submit(self._run, job)
        if kind:
            self.latest[kind] = submitted

    def wait(self, kind: str) -> None:
        """Until no job of this kind waits or runs."""
        if kind in self.latest:
            self.latest[kind].result()

    def busy(self, kind: str) -> bool:
        return kind in self.latest and not self.latest[kind].done()

    def check(self) -> None:
        """Raises the error of a job, if there was one."""
        if self.error:
            raise self.error

    def flush(self) -> None:
        """Waits for all jobs. Raises as `check` does."""
        self.pool.submit(lambda: None).result()
        self.check()

    def _run(self, job: Callable[[], object]) -> None:
        try:
            if self.error is None:
                job()
        except BaseException as error:  # the command raises it where it next looks
            self.error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """What waits is still written, also where the run has failed: its own error is then the one to be told."""
        self.pool.shutdown()
        if error is None:
            self.check()
