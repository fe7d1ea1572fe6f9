"""The overrides of a command line as Hydra gets to read them, and what of them is refused before it does."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from gantool.cli import argv as arguments
from gantool.cli.job import COMPARED, KEEP_FOLDER, OWN_FOLDERS, Folders
from gantool.config import schema
from gantool.config.compose import composed
from gantool.config.schema import conf_dir
from gantool.config.signature import signature
from gantool.config.values import check_value
from gantool.errors import UsageError
from gantool.runs import resume
from gantool.runs.folder import find

EMPTY = [f"{key}={value}" for key in arguments.FOLDERS for value in ("", "null")]  # no folder
NAMES = "hydra.job.config.override_dirname.exclude_keys"  # settings that the names of a sweep's folders leave out


def prepared(command: str, flags: Sequence[str], overrides: list[str]) -> list[str]:
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
    empty = next((one for one in overrides if one.lstrip("+") in EMPTY), None)
    if empty:
        raise UsageError(f"{empty} names no folder: give one, or leave it out")
    single = next((one for one in overrides if one.lstrip("+").startswith("hydra.run.dir=")), None)
    if multirun and single and spec is None:
        raise UsageError(f"{single} is for one run: with -m, hydra.sweep.dir=FOLDER holds the folders of all")
    _refuse_nameless(overrides)
    if spec is not None:
        overrides = _resumed(spec, overrides, command, flags, multirun)
    if multirun:
        overrides = _last_of_each(overrides)
        if command in (*KEEP_FOLDER, *COMPARED):
            _refuse_shared(overrides)
        if command == "sample":
            _refuse_one_file(overrides)
        _check_values(command, overrides)
    if multirun and not any(override.startswith(NAMES) for override in overrides):
        shared = ",".join(map(arguments.quoted, _shared(overrides)))
        overrides.append(f"{NAMES}=[{shared}]")
    return overrides


def _refuse_nameless(overrides: Sequence[str]) -> None:
    """`trick=[[ema]]`, `metric=[null]`, `prior={normal: 1}`: the options of a group are chosen by their names.

    Of most groups one is chosen: `objective=[hinge,wgan]` has no meaning.
    """
    for override, parsed in _parsed(overrides):
        group = parsed.key_or_group
        if (conf_dir() / group).is_dir() and not override.startswith("~"):
            for chosen in getattr(parsed.value(), "list", [parsed.value()]):  # of a choice sweep; a glob is another
                names = chosen if isinstance(chosen, list) else []
                if isinstance(chosen, dict) or not all(isinstance(getattr(one, "text", one), str) for one in names):
                    example = f"{group}=[NAME,...]" if group in schema.LISTS else f"{group}=NAME"
                    raise UsageError(f"{override}: options of {group} are chosen by their names: {example}")
                if len(names) > 1 and group not in (*schema.LISTS, "experiment"):
                    each = ",".join(str(getattr(one, "text", one)) for one in names)
                    raise UsageError(f"{override}: {group} takes one option; for a run of each: -m {group}={each}")


def _refuse_shared(overrides: Sequence[str]) -> None:
    """A folder that all jobs would have; where its name is made of settings, each job looks (gantool.cli.job)."""
    given = next((one for one in overrides if one.startswith("hydra.sweep.subdir=") and "${" not in one), None)
    if given and any(parsed.is_sweep_override() for _, parsed in _parsed(overrides)):
        raise UsageError(f"{given}: two jobs share a folder; {OWN_FOLDERS}")


def _refuse_one_file(overrides: Sequence[str]) -> None:
    """`out=grid.png` of a sweep, where each job would write over the one before."""
    parsed = [parsed for _, parsed in _parsed(overrides)]
    given = next((one for one in parsed if one.key_or_group == "out" and not one.is_sweep_override()), None)
    out = "" if given is None else str(getattr(given.value(), "text", given.value() or ""))
    chosen = {one.key_or_group: str(one.value()) for one in parsed if not one.is_sweep_override()}
    many = chosen.get("sampler") == "dump" and chosen.get("format") != "npz" and "${" not in out
    if out and many and any(one.is_sweep_override() for one in parsed):
        raise UsageError(f"out={out}: sampler=dump fills a folder, and each job needs its own: leave it out")
    file = out and "${" not in out and not out.endswith("/") and not os.path.isdir(out)
    if file and any(one.is_sweep_override() for one in parsed):
        raise UsageError(f"out={out}: each job would write over the one before it; give a folder, out=FOLDER/")


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
    from hydra.core.override_parser.types import Glob, Transformer

    fields = signature(f"{schema.__name__}.{command.capitalize()}") or {}
    for override, parsed in _parsed(overrides):
        key = parsed.key_or_group
        kind = fields[key].annotation if key in fields else "Component"
        if kind.startswith("Component") or is_dataclass(getattr(schema, kind, None)) or "${" in override:
            continue  # no single value, or one that is not known yet
        if isinstance(parsed.value(), Glob):
            raise UsageError(f"{override}: glob() is for the options of a group: write the values, {key}=A,B")
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
