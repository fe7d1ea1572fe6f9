"""What Hydra runs for each job: the command itself, with its end written down where a person or a sweep will look."""

import importlib
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gantool.cli import search
from gantool.cli.bugs import report_bug
from gantool.cli.errors import Report, explain
from gantool.commands.results import HOW
from gantool.config import resolvers  # noqa: F401  registers them, in every worker too
from gantool.errors import OWN, Busy, Diverged, RunError, UsageError
from gantool.runs import status
from gantool.runs.call import Call
from gantool.runs.claim import claimed
from gantool.runs.folder import RunFolder
from gantool.runs.resume import key_of

log = logging.getLogger(__name__)

KEEP_FOLDER = ("train", "bench")  # commands whose job is a run folder
COMPARED = ("evaluate",)  # commands whose jobs have a folder in a sweep, which compares them
LONG = ("steps", "images", "minutes")  # keys of how long a run is
BEGUN = ("running", "diverged", "interrupted")  # states in which a failure belongs into the folder's log
ENDED = ("failed", "diverged", "interrupted")  # states that say of a job that it is not done
OWN_FOLDERS = "leave out hydra.sweep.subdir, or give one that differs: 'hydra.sweep.subdir=${hydra.job.num}'"


class Stopped(BaseException):
    """Carries a report past Hydra, which would tell an ordinary exception in its own words first."""

    def __init__(self, report: Report):
        super().__init__(report)
        self.report = report


class JobFailed(RunError):
    """A job of a sweep that has no folder to write it into failed."""


class Shared(UsageError):
    """Another job of the sweep has the folder."""


class Job:
    """A command as a Hydra task. Pickled by reference to this class, so any launcher can carry it to a worker."""

    stopped: ClassVar[str | None] = None  # the launch whose job a person stopped in this process: no other one begins

    def __init__(self, command: str, launch: str):
        self.command, self.launch = command, launch  # `launch` is the mark of one call of a sweep

    def __call__(self, cfg: DictConfig) -> Any:
        if Job.stopped == self.launch:
            raise KeyboardInterrupt
        OWN.clear()
        hydra = HydraConfig.get()
        if hydra.runtime.cwd not in sys.path:  # last, so that it shadows nothing: there the user's own classes are
            sys.path.append(hydra.runtime.cwd)
        sweep = hydra.mode == RunMode.MULTIRUN
        kept = self.command in KEEP_FOLDER or (sweep and self.command in COMPARED)
        folder = RunFolder(hydra.runtime.output_dir) if kept else None
        call = Call(Path(hydra.runtime.cwd, hydra.sweep.dir), self.launch) if sweep and kept else None
        try:
            if folder:
                _refuse_data(folder, cfg)
                if call:
                    _claim(call, folder, list(hydra.overrides.task))
                with claimed(folder):
                    return self._run_in(folder, cfg, list(hydra.overrides.task), call)
            return self._run(cfg)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                Job.stopped = self.launch
            return _failed(error, folder, sweep, call)

    def _run(self, cfg: DictConfig) -> Any:
        try:
            return importlib.import_module(f"gantool.commands.{self.command}").run(cfg)
        except SystemExit as end:  # a class of the user's own: the summary, and the other jobs, still have their turn
            raise RunError(f"sys.exit({end.code!r}) was called within the run: raise an error there instead") from end

    def _run_in(self, folder: RunFolder, cfg: DictConfig, overrides: list[str], call: Call | None) -> Any:
        """A job that was finished before is passed over; one with checkpoints is continued, by the command itself."""
        if Folders.source:
            return self._branch(RunFolder(Folders.source), folder, cfg)
        before = status.read(folder)
        done = before.get("state") == "done"
        if done and sorted(before.get("overrides") or ()) == sorted(overrides):
            more = "" if call else "; a larger budget goes on: more steps, images or minutes"
            log.info("already finished: %s%s", folder.root, more)
            return before.get("value")
        if call and not done:  # also where the job fails before it begins; a finished one stays so until it goes on
            status.update(folder, state="running", command=self.command, overrides=overrides, **status.process())
        try:
            value = self._run(cfg)
        finally:
            if not call:
                _note_alone(folder, before, overrides)
        if status.read(folder) != before:  # else there was nothing to do
            status.update(folder, value=value)
        return value

    def _branch(self, source: RunFolder, folder: RunFolder, cfg: DictConfig) -> Any:
        """A run that goes on in a folder of its own, which is left as it was where it is refused."""
        from gantool.runs import branch

        step, copied = branch.begin(source, cfg.checkpoint, folder)
        cfg.checkpoint = "last"  # the one that was chosen
        try:
            value = self._run(cfg)
        finally:
            if folder.status.exists():
                status.update(folder, branch_of={"run": str(source.root), "step": step})
            else:
                branch.undo(copied)
        status.update(folder, value=value)
        return value


def _refuse_data(folder: RunFolder, cfg: DictConfig) -> None:
    """A run would be trained on its own pictures."""
    path = (cfg.get("dataset") or {}).get("path")
    if isinstance(path, str) and path and Path(path).expanduser().resolve() == folder.root.resolve():
        if folder.log.is_file() and not folder.log.stat().st_size:  # Hydra has opened it
            folder.log.unlink()
        raise UsageError(f"{folder.root} is the folder of the images: give hydra.run.dir another one")


def _claim(call: Call, folder: RunFolder, overrides: list[str]) -> None:
    """Notes the job. UsageError where an earlier one of the call, of other settings, has its folder."""
    call.note(folder.root, claimed=sorted(overrides))
    first = call.jobs()[call.name(folder.root)]["claimed"]
    if first != sorted(overrides):
        raise Shared(
            f"two jobs share the folder {folder.root} ({' '.join(first)}, and {' '.join(overrides)}): the second is "
            f"not run; {OWN_FOLDERS}"
        )


class Folders(Callback):
    """Notes where Hydra is about to write: for a sweep's summary, and to leave nothing of a run that never began.

    Before a sweep, what it seeks is settled.
    """

    new: ClassVar[Path | None] = None  # the folder of this run or sweep, if it did not exist before
    sweep: ClassVar[Path | None] = None
    launcher: ClassVar[str | None] = None  # of a sweep
    source: ClassVar[Path | None] = None  # the run that this one is a branch of

    @classmethod
    def forget(cls) -> None:
        cls.new = cls.sweep = cls.launcher = cls.source = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        Folders.new = self._new(config.hydra, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            search.aim(config)
        except UsageError as error:  # Hydra would only warn
            raise Stopped(Report(str(error), 2)) from error
        Folders.new = self._new(config.hydra, "sweep")
        Folders.sweep, Folders.launcher = Path(config.hydra.sweep.dir), config.hydra.runtime.choices["hydra/launcher"]

    def _new(self, hydra: DictConfig, kind: str) -> Path | None:
        with suppress(OmegaConfBaseException, OSError):  # Hydra meets it next, and says so
            folder = Path(hydra[kind].dir)
            return None if folder.exists() else folder
        return None


def _note_alone(folder: RunFolder, before: Mapping[str, Any], overrides: list[str]) -> None:
    """A sweep's job that was trained by itself, with other settings, is not any longer what the sweep compares."""
    old, known = before.get("overrides") or (), before.get("alone") or []
    same = (*HOW, *LONG)
    new = [one for one in overrides if one not in (*old, *known) and key_of(one).partition(".")[0] not in same]
    in_sweep = any((parent / "multirun.yaml").is_file() for parent in folder.root.absolute().parents[:2])
    ours = in_sweep and before and "branch_of" not in before
    if ours and new and status.read(folder).get("overrides") == overrides:  # it was not refused
        status.update(folder, alone=[*known, *new])


def _failed(
    error: Exception | KeyboardInterrupt, folder: RunFolder | None, sweep: bool, call: Call | None = None
) -> None:
    """Tell the folder, if there is one to tell. In a sweep the others go on, unless a person stopped it."""
    ours = None if isinstance(error, Busy | Shared) else folder  # to write into
    if isinstance(error, Busy):
        Folders.new = None  # and nothing in there is to be tidied: what looks unstarted may be about to start
    begun = ours is not None and (sweep or _state(ours) in BEGUN)
    report = explain(error) or report_bug(error, ours.log if ours and begun and _logs() else None)
    if ours and begun:
        _write_down(error, report, ours, sweep)
    if call and folder and not isinstance(error, Busy) and _state(folder) not in ENDED:  # which says it itself
        with suppress(UsageError, RunError):  # the disk may be full
            call.note(folder.root, state=_ended(error), error=_lasting(error, report))
    if isinstance(error, KeyboardInterrupt) and sweep:
        raise error
    if not sweep:
        raise Stopped(report) from error
    if folder is None:
        log.error("%s", report.message)
        raise JobFailed("not every job succeeded") from error
    if ours is None:  # the summary finds it again
        print(f"gantool: {report.message}", file=sys.stderr)


def _write_down(error: BaseException, report: Report, folder: RunFolder, sweep: bool) -> None:
    stopped = isinstance(error, KeyboardInterrupt)
    last_words = {"file_only": stopped or not sweep}  # how the whole command ended is told on the screen by launch
    log.log(logging.INFO if stopped else logging.ERROR, "%s", report.message, extra=last_words)
    if explain(error) is None:
        log.error("the traceback:", exc_info=error, extra={"file_only": True})
    if _state(folder) == "running":  # else the command itself has written why
        with suppress(UsageError, RunError):  # the disk may be full
            status.update(folder, state=_ended(error), error=_lasting(error, report), ended=status.now())


def _ended(error: BaseException) -> str:
    states = {KeyboardInterrupt: "interrupted", Diverged: "diverged"}
    return next((name for kind, name in states.items() if isinstance(error, kind)), "failed")


def _lasting(error: BaseException, report: Report) -> str:
    """The sentence without where a bug's traceback is."""
    return report.message if explain(error) else report.message.splitlines()[0]


def _logs() -> bool:
    """Is there a log file, beside what the terminal is told?"""
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)


def _state(folder: RunFolder) -> str:
    with suppress(UsageError):
        return str(status.read(folder).get("state"))
    return "unknown"
