"""Where a run keeps what, how a file is written whole or not at all, and how an earlier run is found again."""

import errno
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gantool.errors import RunError, UsageError

log = logging.getLogger(__name__)
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
_FILES = {".png", ".npz", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".zip"}
_FILES |= {".pt", ".pt2", ".onnx"}
_SHOWN = 4  # runs that a message names before it says how many more there are


class RunFolder:
    """The names below a run's folder; says nothing of whether they exist."""

    def __init__(self, root: str | Path):
        self.root = Path(root)

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def overrides(self) -> Path:
        return self.root / "overrides.yaml"

    @property
    def status(self) -> Path:
        return self.root / "status.json"

    @property
    def log(self) -> Path:
        return self.root / "train.log"

    @property
    def rows(self) -> Path:
        return self.root / "metrics.jsonl"

    def events(self, logger: str) -> Path:
        """A logger's own folder, which is there from now on."""
        folder = self.root / logger
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def animation(self) -> Path:
        return self.root / "training.webp"

    @property
    def curves(self) -> Path:
        return self.root / "curves.png"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def grid(self, step: int) -> Path:
        return self.samples / f"step_{step:08d}.png"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:08d}.pt"

    def discard_if_unstarted(self) -> None:
        """Remove a folder that holds nothing but its log, which Hydra opens, and the parents that this leaves empty.

        For runs that are refused before they begin. One file more than that, and everything stays.
        """
        root, here = self.root.resolve(), Path.cwd()
        if self.root.is_symlink() or root in (here, *here.parents):
            return
        with suppress(OSError):  # what cannot be listed or removed stays
            if set(self.root.iterdir()) <= {self.log}:
                self.log.unlink(missing_ok=True)
                below = [folder for folder in root.parents if here in folder.parents]
                for folder in (root, *below):
                    folder.rmdir()  # raises, and so ends the climb, at the first that is not empty


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise RunError(
                f"disk full: could not write {path}; free some space and run the command again "
                "(a training run goes on with: gantool train resume=FOLDER)"
            ) from error
        if error.errno in REFUSED:
            raise UsageError(
                f"cannot write {path} ({error.strerror}): choose another place or mend this one"
            ) from error
        raise RunError(f"could not write {path}: {error.strerror or error}") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: a reader finds the old file or the new one.

    Makes the folder. RunError where the disk is full, UsageError where nobody may write; the old file then stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def runs_below(base: Path, besides: Collection[str] = ("bench", "evaluate")) -> list[RunFolder]:
    """Every folder at or below `base` with a status.json, oldest start first, but those of the commands `besides`.

    Links to folders are followed, but no links below those; each run is there once.
    """
    links: list[str] = []
    runs = list(_walk(base, links))
    known, above = {run.root.resolve() for run in runs}, {base.resolve(), *base.resolve().parents}
    for link in sorted(link for link in links if Path(link).resolve() not in above):
        linked = {run.root.resolve(): run for run in _walk(link, [])}
        runs += [run for root, run in linked.items() if root not in known]
        known |= linked.keys()
    wanted = [run for run in runs if _noted(run, "command") not in besides]
    return sorted(wanted, key=lambda run: (_noted(run, "started"), str(run.root)))


def _walk(base: str | Path, links: list[str]) -> Iterator[RunFolder]:
    """The runs that are reached without a link; links to folders are added to `links`."""
    for folder, folders, files in os.walk(base):
        if "status.json" in files:
            yield RunFolder(folder)
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [path for path in (os.path.join(folder, name) for name in folders) if os.path.islink(path)]


def ending(path: Path, suffix: str) -> Path:
    """The path, with this suffix added where it has none. UsageError where it has that of another kind of file."""
    if path.suffix.lower() in _FILES - {suffix}:
        raise UsageError(f"{path} would be written as {suffix}: give a name that ends so, or one without an ending")
    return path if path.suffix.lower() == suffix else path.with_name(path.name + suffix)


def find(spec: str, base: Path = Path("outputs"), trained: bool = False) -> tuple[RunFolder, Path | None]:
    """What a person means by `run=`: 'latest', a run folder, or one of its checkpoint files, which is then the second.

    A relative path may start at the current folder or at `base`, as `gantool runs` prints it. `trained`: of the runs
    that hold a checkpoint the latest, if there is any.
    """
    if spec == "latest":
        runs = runs_below(base)
        if not runs:
            where = base.absolute()
            raise UsageError(
                f"there are no runs below {where} yet: make one with gantool train, or name a run's folder"
            )
        runs.sort(key=lambda run: _noted(run, "resumed") or _noted(run, "started"))
        usable = [run for run in runs if any(run.checkpoints.glob("*.pt"))] if trained else runs
        if usable and usable[-1] is not runs[-1]:
            log.info("%s has no checkpoint yet: this is of %s", runs[-1].root, usable[-1].root)
        return _complete((usable or runs)[-1]), None
    path = Path(spec).expanduser()
    try:
        path = path if path.exists() else base / path
        if path.is_file():
            return _owner(path), path
        if path.is_dir():
            return _run_at(path), None
    except OSError as error:
        raise UsageError(f"cannot read {spec}: {error.strerror}") from error
    path = Path(spec).expanduser()
    if path.suffix == ".pt" and path.parent.is_dir():
        there = ", ".join(sorted(each.name for each in path.parent.glob("*.pt"))) or "none"
        raise UsageError(f"there is no checkpoint {path.name} in {path.parent}: there is {there}")
    raise UsageError(f"no such run: {spec}; gantool runs lists those there are")


def _noted(run: RunFolder, key: str) -> str:
    """A time that status.json notes; "" where it does not, or cannot be read."""
    try:
        return str(json.loads(run.status.read_bytes()).get(key) or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _complete(run: RunFolder) -> RunFolder:
    if not run.config.is_file():
        raise UsageError(f"{run.root} is no complete run: it has no {run.config.name}")
    return run


def _owner(path: Path) -> RunFolder:
    run = RunFolder(path.absolute().parent.parent if path.parent == Path(".") else path.parent.parent)
    if path.suffix != ".pt":
        raise UsageError(f"{path} is no checkpoint: give a run folder, or a .pt file in its checkpoints/")
    if not run.status.is_file() and not run.config.is_file():
        raise UsageError(f"{path} does not lie in the checkpoints/ of a run, whose config.yaml is needed beside it")
    return _complete(run)


def _run_at(path: Path) -> RunFolder:
    run = RunFolder(path)
    if run.status.is_file() or (run.config.is_file() and any(run.checkpoints.glob("*.pt"))):
        return _complete(run)
    inside = [str(one.root) for one in reversed(runs_below(path))]
    if inside:
        more = f", ... ({len(inside) - _SHOWN} more)" if len(inside) > _SHOWN else ""
        raise UsageError(f"{path} holds several runs, not one: choose {' or '.join(inside[:_SHOWN])}{more}")
    if (path.parent / "status.json").is_file():
        raise UsageError(f"{path} is a part of a run: give the run itself, {path.parent}")
    raise UsageError(f"{path} is no run: it has no status.json")
