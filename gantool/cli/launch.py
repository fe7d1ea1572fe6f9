"""A command through Hydra: repaired argv in; the job, and the summary of a sweep; an exit code out."""

import logging
import os
import secrets
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import hydra

from gantool.cli import argv as arguments
from gantool.cli import workers
from gantool.cli.bugs import report_bug
from gantool.cli.errors import NO_TRIAL, Asked, explain, show
from gantool.cli.job import COMPARED, KEEP_FOLDER, OWN_FOLDERS, Folders, Job, Stopped
from gantool.config import schema
from gantool.config.compose import composed
from gantool.config.schema import conf_dir
from gantool.config.signature import signature
from gantool.config.values import check_value
from gantool.errors import UsageError
from gantool.runs import curves, growth, resume, sweep
from gantool.runs.call import Call
from gantool.runs.folder import RunFolder, find

log = logging.getLogger(__name__)
MAY_SET_MODE = ("hydra.mode", "+hydra.mode", "++hydra.mode", "hydra.searchpath", "--config-dir", "-cd")
NAMES = "hydra.job.config.override_dirname.exclude_keys"  # settings that the names of a sweep's folders leave out


def run(command: str, argv: Sequence[str]) -> int:
    """Run a command of Hydra's kind. Whatever happens is said in a sentence, and is in the exit code."""
    asked, mark, stopped = Asked(command=command), secrets.token_hex(4), False
    Folders.forget()
    try:
        flags, overrides = arguments.split(argv)
        asked = Asked(tuple(overrides), (conf_dir(), *map(Path, arguments.config_dirs(flags))), command)
        _warn_of_namesakes(command, arguments.config_dirs(flags))
        line = [f"gantool {command}", *flags, *_prepared(command, flags, overrides)]
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


def _prepared(command: str, flags: Sequence[str], overrides: list[str]) -> list[str]:
    """What Hydra gets to read: an earlier run replayed, paths quoted, jobs named by what differs between them."""
    spec = arguments.pop_value("resume", overrides) if command == "train" else None
    spec = spec and os.path.expanduser(spec)
    multirun = arguments.is_multirun(flags)
    if command in ("evaluate", "sample"):
        overrides = [arguments.expanded(override, multirun, command) for override in overrides]
    if command == "sample":
        overrides = [arguments.named(override) for override in overrides]
    if command in ("evaluate", "sample", "export"):
        overrides = [arguments.opened(override) for override in overrides]
    overrides = [arguments.whole(arguments.quoted_path(override, multirun)) for override in overrides]
    overrides = [arguments.once(arguments.based(override)) for override in overrides]
    _refuse_nameless(overrides)
    if spec is not None:
        overrides = _resumed(spec, overrides, command, flags, multirun)
    if multirun:
        overrides = _last_of_each(overrides)
        if command in (*KEEP_FOLDER, *COMPARED):
            _refuse_shared(overrides)
        _check_values(command, overrides)
    if multirun and not any(override.startswith(NAMES) for override in overrides):
        shared = ",".join(map(arguments.quoted, _shared(overrides)))
        overrides.append(f"{NAMES}=[{shared}]")
    return overrides


def _refuse_nameless(overrides: Sequence[str]) -> None:
    """`trick=[[ema]]`, `metric=[null]`: the options of a group are chosen by their names."""
    for override, parsed in _parsed(overrides):
        group = parsed.key_or_group
        if (conf_dir() / group).is_dir() and not override.startswith("~"):
            for chosen in parsed.value().list if parsed.is_choice_sweep() else [parsed.value()]:
                if isinstance(chosen, list) and not all(isinstance(getattr(one, "text", one), str) for one in chosen):
                    example = f"{group}=[NAME,...]" if group in schema.LISTS else f"{group}=NAME"
                    raise UsageError(f"{override}: options of {group} are chosen by their names: {example}")


def _refuse_shared(overrides: Sequence[str]) -> None:
    """A folder that all jobs would have; where its name is made of settings, each job looks (gantool.cli.job)."""
    given = next((one for one in overrides if one.startswith("hydra.sweep.subdir=") and "${" not in one), None)
    if given and any(parsed.is_sweep_override() for _, parsed in _parsed(overrides)):
        raise UsageError(f"{given}: two jobs share a folder; {OWN_FOLDERS}")


def _last_of_each(overrides: Sequence[str]) -> list[str]:
    """Of a key that is given twice the last, as without -m: Hydra would make jobs of both, of the same name."""
    keys = [override.partition("=")[0].removeprefix("++") for override in overrides]
    again = [key in keys[i + 1 :] and not key.startswith(("+", "~")) for i, key in enumerate(keys)]
    return [override for override, later in zip(overrides, again, strict=True) if not later]


def _resumed(spec: str, changes: list[str], command: str, flags: Sequence[str], multirun: bool) -> list[str]:
    if spec in ("", "null"):
        raise UsageError("resume needs a run: give resume=outputs/..., or resume=latest")
    if spec != "latest":
        spec = os.path.expanduser(spec)
    if not multirun and (Path(spec) / "multirun.yaml").is_file():
        raise UsageError(f"{spec} is a sweep: gantool {command} -m resume={shlex.quote(spec)}")
    if not multirun:
        folder, file = find(spec)
        if file is not None and not any(resume.key_of(change) == "checkpoint" for change in changes):
            step = file.stem.removeprefix("step_")
            if not step.isdecimal():
                raise UsageError(f"{file} is no checkpoint of a step: give one that is named like step_00001000.pt")
            changes = [*changes, f"checkpoint={int(step)}"]
        new = resume.new_folder(folder, changes)
        Folders.source = folder.root if new else None
        return resume.replay(folder, changes, lambda overrides: _composed(command, flags, overrides))
    if spec == "latest":
        sweeps = sorted(path.parent for path in Path("outputs/multirun").glob("*/multirun.yaml"))
        if not sweeps:
            raise UsageError("there are no sweeps below outputs/multirun/ yet")
        spec = str(sweeps[-1])
    return resume.replay_sweep(Path(spec), changes)


def _composed(command: str, flags: Sequence[str], overrides: list[str]) -> Mapping[str, Any]:
    """The configuration as it would be today, as plain values."""
    folders = ",".join(arguments.quoted(f"file://{os.path.abspath(folder)}") for folder in arguments.config_dirs(flags))
    return composed(*overrides, *([f"hydra.searchpath=[{folders}]"] if folders else []), command=command)


def _check_values(command: str, overrides: Sequence[str]) -> None:
    """Single values of a sweep are checked before its first job; each job checks the rest of its settings."""
    from hydra.core.override_parser.types import Transformer

    fields = signature(f"{schema.__name__}.{command.capitalize()}") or {}
    for override, parsed in _parsed(overrides):
        key = parsed.key_or_group
        kind = fields[key].annotation if key in fields else "Component"
        if kind.startswith("Component") or is_dataclass(getattr(schema, kind, None)) or "${" in override:
            continue  # no single value, or one that is not known yet
        many = parsed.is_choice_sweep() or parsed.is_range_sweep()
        if many or not parsed.is_sweep_override():
            for value in parsed.sweep_iterator(Transformer.identity) if many else [parsed.value()]:
                plain = getattr(value, "text", value)
                check_value(key, plain, kind)
                if key == "run":
                    find(str(plain))


def _shared(overrides: Sequence[str]) -> Iterator[str]:
    """Keys of the settings that are the same in all jobs."""
    for override, parsed in _parsed(overrides):
        if not parsed.is_sweep_override() and not parsed.is_hydra_override():
            yield override.partition("=")[0]


def _parsed(overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Those that can be read: of the others Hydra will complain in a moment, with more to say."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for override in overrides:
        with suppress(HydraException):
            yield override, OverridesParser.create().parse_override(override)


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
    sweep.write(summary)
    sweep.show(summary)
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
