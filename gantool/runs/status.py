"""status.json: what became of a run, and what it was made with. Read by people, `gantool runs`, resume and sweeps.

States: running, done, failed, interrupted, diverged; and killed, which nobody can write and `state_of` finds out.
"""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gantool.errors import Busy, UsageError
from gantool.runs.folder import RunFolder, write_atomically
from gantool.runs.rows import plain

_PACKAGES = {"torch": "torch", "torchvision": "torchvision", "hydra": "hydra-core", "gantool": "gantool"}
_MEND = "; delete that file: a run goes on from its checkpoints without it"


def read(folder: RunFolder) -> dict[str, Any]:
    """The whole status, {} where there is none."""
    try:
        status = json.loads(folder.status.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {folder.status}: {error}{_MEND}") from error
    if not isinstance(status, dict):
        raise UsageError(f"cannot read {folder.status}: it holds no JSON object{_MEND}")
    return status


def update(folder: RunFolder, **changes: Any) -> dict[str, Any]:
    """Merge `changes` into the status, note the time, and write it."""
    status = read(folder) | {"updated": now()} | plain(changes)
    text = json.dumps(status, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(folder.status, lambda file: file.write(text.encode()))
    return status


def now() -> str:
    """The time as status.json has it: UTC, ISO 8601, so that the order of the strings is the order in time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def process() -> dict[str, Any]:
    """Who writes: merged into the status at the start of a run, so that `state_of` can tell a killed one."""
    return {"pid": os.getpid(), "host": platform.node(), "born": _born(os.getpid())}


def state_of(folder: RunFolder) -> str:
    """The state, but 'killed' for a run that says `running` although its process on this machine is gone."""
    status = read(folder)
    state = str(status.get("state", "unknown"))
    here = status.get("host") == platform.node()
    return "killed" if state == "running" and here and not _alive(status.get("pid"), status.get("born")) else state


def refuse_busy(folder: RunFolder) -> None:
    """Raises Busy where another process of this machine is at work in a run's folder."""
    status, ours = read(folder), process()
    others = status.get("pid") != ours["pid"] and status.get("host") == ours["host"]
    if others and state_of(folder) == "running":
        raise Busy(f"{folder.root} is in use by process {status['pid']}: let it end, or stop it")


def environment() -> dict[str, str | None]:
    """Versions of what a result may depend on; None = not installed."""
    return {"python": platform.python_version(), "platform": platform.platform()} | {
        name: _version(package) for name, package in _PACKAGES.items()
    }


def git_revision() -> str | None:
    """Commit of the checkout that gantool is run from, with '+dirty' if files differ. None for an installed one."""
    checkout = Path(__file__).parents[2]
    commit = _git(checkout, "rev-parse", "HEAD") if (checkout / ".git").exists() else None
    if not commit:
        return None
    return f"{commit}+dirty" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else commit


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    return _run("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments)


def _run(*command: str, **environment: str) -> str | None:
    """What a program says; None where it is not there, or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=os.environ | environment
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _alive(pid: Any, born: int | str | None) -> bool:
    """Does that process still run? Numbers are used again, above all in containers: if known, its birth must match."""
    if os.name != "posix":  # there os.kill would end it
        return True
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    return _born(int(pid)) == born if born is not None else not _zombie(int(pid))


def _born(pid: int) -> int | str | None:
    """When a process began: clock tick since boot, or a date. None if it is dead or the system does not say."""
    stat = _stat(pid)
    if stat:
        return int(stat[19]) if stat[0] not in "ZX" else None
    return _run("ps", "-o", "lstart=", "-p", str(pid), LC_ALL="C", TZ="UTC0") or None  # macOS, which has no /proc


def _zombie(pid: int) -> bool:
    return _stat(pid)[:1] in (["Z"], ["X"])


def _stat(pid: int) -> list[str]:
    """Linux's /proc/PID/stat from the third field on (man 5 proc), [] elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
