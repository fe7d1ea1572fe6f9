"""What one call of a sweep has come by, in a file of the sweep's own until the call is over.

Not in the jobs' folders: a job that this call passes over or refuses stays as it is, and another call may work on the
same sweep. Every job adds its lines itself, so that workers on other machines are heard too.
"""

import json
import os
from pathlib import Path
from typing import Any

from gantool.runs.folder import explained
from gantool.runs.rows import plain


class Call:
    """The jobs of the call `mark` of a sweep."""

    def __init__(self, sweep: Path, mark: str):
        self.sweep, self.file = sweep, sweep / f".call_{mark}.jsonl"

    def note(self, job: Path, **facts: Any) -> None:
        """Raises as `explained` does where the disk is full, say."""
        line = json.dumps({"job": self.name(job)} | plain(facts)) + "\n"
        with explained(self.file), open(self.file, "ab", buffering=0) as file:
            file.write(line.encode())  # in one piece, for other jobs write too

    def name(self, job: Path) -> str:
        return os.path.relpath(job, self.sweep)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Name of a job's folder -> what was noted of it, the first word of each fact."""
        found: dict[str, dict[str, Any]] = {}
        lines = self.file.read_text("utf-8").splitlines() if self.file.is_file() else []
        for facts in map(json.loads, lines):
            job = facts.pop("job")
            found[job] = facts | found.get(job, {})
        return found

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
