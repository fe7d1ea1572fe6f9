"""A command through Hydra: repaired argv in; the job, and the summary of a sweep; an exit code out."""

import logging
import os
import secrets
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import hydra

from gantool.cli import argv as arguments
from gantool.cli import workers
from gantool.cli.bugs import report_bug
from gantool.cli.errors import NO_TRIAL, Asked, explain, show
from gantool.cli.job import COMPARED, KEEP_FOLDER, Folders, Job, Stopped
from gantool.cli.prepared import prepared
from gantool.config.schema import conf_dir
from gantool.runs import curves, growth, resume, sweep, told
from gantool.runs.call import Call
from gantool.runs.folder import RunFolder

log = logging.getLogger(__name__)
MAY_SET_MODE = ("hydra.mode", "+hydra.mode", "++hydra.mode", "hydra.searchpath", "--config-dir", "-cd")


def run(command: str, argv: Sequence[str]) -> int:
    """Run a command of Hydra's kind. Whatever happens is said in a sentence, and is in the exit code."""
    asked, mark, stopped = Asked(command=command), secrets.token_hex(4), False
    Folders.forget()
    try:
        flags, overrides = arguments.split(argv, command)
        asked = Asked(tuple(overrides), (conf_dir(), *map(Path, arguments.config_dirs(flags))), command)
        _warn_of_namesakes(command, arguments.config_dirs(flags))
        line = [f"gantool {command}", *flags, *prepared(command, flags, overrides)]
        with workers.let_save(lambda: _begun(mark)) if arguments.is_multirun(flags) else nullcontext():
            through_hydra(command, line, mark)
        code = 0
    except SystemExit as end:  # argparse, and the end of --help
        code = end.code if isinstance(end.code, int) else 2
    except Stopped as end:
        code = show(command, end.report, end)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        asked = asked._replace(folder=Folders.sweep or Folders.new)
        code = show(command, explain(error, asked) or report_bug(error), error)
        stopped = str(error) != NO_TRIAL
    finally:
        _tidy()
    if Folders.sweep and command in (*KEEP_FOLDER, *COMPARED):
        try:
            code = _summary(command, mark, argv, code, stopped)
        except BrokenPipeError:
            raise
        except Exception as error:  # not the configuration's: the jobs have run
            code = show(command, explain(error) or report_bug(error), error)
    return code


def _begun(mark: str) -> list[Path]:
    """The folders of the jobs that this call of a sweep has begun in processes that end with this one."""
    if Folders.sweep is None or Folders.launcher != "joblib":
        return []
    return [Folders.sweep / name for name in Call(Folders.sweep, mark).jobs()]


def _warn_of_namesakes(command: str, folders: Iterable[str]) -> None:
    """Hydra takes the first option of a name, which is the built-in one."""
    for folder in map(Path, folders):
        for file in sorted(folder.glob("*/*.yaml")):
            if (conf_dir() / file.relative_to(folder)).is_file():
                print(f"gantool {command}: {file} is not used: a built-in option has its name", file=sys.stderr)


def through_hydra(command: str, argv: list[str], mark: str = "") -> None:
    """Hand `argv`, the program's name first, to Hydra. Errors are raised; `mark` names this call of a sweep."""
    with _process(argv), _mode_as_typed(argv):
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(Job(command, mark))()


@contextmanager
def _process(argv: list[str]) -> Iterator[None]:
    """What Hydra and the libraries below take from the process, set for one command."""
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised to us, not printed
    logging.raiseExceptions = os.environ.get("GANTOOL_DEBUG") == "1"  # a full disk must not spill tracebacks of logging
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *place, **more: log.warning("%s", str(message).strip())
            yield
    finally:
        sys.argv = before[0]
        os.environ.pop("HYDRA_FULL_ERROR", None)
        os.environ.update({"HYDRA_FULL_ERROR": before[1]} if before[1] is not None else {})


@contextmanager
def _mode_as_typed(argv: Iterable[str]) -> Iterator[None]:
    """-m says that it is a sweep: Hydra would compose the configuration once more, to look for `hydra.mode` in it.

    It may, where it could be there: nothing of ours sets it.
    """
    from hydra._internal.hydra import Hydra

    look = Hydra.get_mode
    if not any(word.startswith(MAY_SET_MODE) for word in argv):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = look  # type: ignore[method-assign]


def _tidy() -> None:
    """Leave no folder of a run or sweep that never began."""
    new = Folders.new
    if new is None or not new.is_dir():
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    run = RunFolder(new)
    written = {path.name for path in new.iterdir()} - {run.log.name}
    if written <= {run.config.name, run.overrides.name, "multirun.yaml"}:  # by this call, since the folder is new
        for name in written:
            (new / name).unlink()
    run.discard_if_unstarted()


def _summary(command: str, mark: str, argv: Sequence[str], code: int, stopped: bool) -> int:
    """Show and keep what became of the sweep's jobs; the exit code says so, too. `stopped` before all had begun?"""
    folder = Folders.sweep
    if folder is None or not os.path.isdir(folder):
        return code
    summary = sweep.summarise(folder, mark, _again(command, folder, argv), stopped)
    told.write(summary)
    told.show(summary)
    if command == "train" and curves.compare(sweep.courses(summary), folder / "curves.png"):
        print(folder / "curves.png")
    if command == "bench" and growth.draw(summary, folder / "growth.png"):
        print(folder / "growth.png")
    return code or (1 if summary.not_done else 0)


def _again(command: str, folder: Path, argv: Sequence[str]) -> str:
    """The command line that runs what is not done; empty where a sweeper keeps its own books."""
    if not (folder / "multirun.yaml").is_file():
        return ""
    flags, overrides = arguments.split([word for word in argv if resume.key_of(word) != "hydra.sweep.dir"])
    if command != "train":
        return shlex.join(["gantool", command, *flags, *overrides, f"hydra.sweep.dir={folder}"])
    ours = [override for override in overrides if resume.key_of(override).startswith(resume.NEVER[:2])]
    return shlex.join(["gantool", command, *flags, f"resume={folder}", *ours])
