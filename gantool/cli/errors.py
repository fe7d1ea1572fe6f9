"""Whatever goes wrong, as one sentence and an exit code: 2 for the user to mend, 1 for a failed run or a bug."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gantool.cli.argv import PATHS
from gantool.cli.choices import below_keys, groups_of, hint, options, owners, places
from gantool.cli.words import MEANT
from gantool.config.schema import LISTS
from gantool.errors import Interrupted, RunError, UsageError
from gantool.runs.folder import DISK_FULL, REFUSED

NO_TRIAL = "No trials are completed yet."  # in Optuna's words
_FEW = 3  # places that are named at once
_EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/sweeper/optuna": "optuna",
}


class Report(NamedTuple):
    """What to print behind `gantool <command>: `, and what to exit with."""

    message: str
    code: int


class Asked(NamedTuple):
    """What the user typed, as far as an explanation needs it."""

    overrides: Sequence[str] = ()
    folders: Sequence[Path] = ()  # of options: conf/ and every --config-dir
    command: str = ""
    folder: Path | None = None  # of a run or sweep that was about to be written


def explain(error: BaseException, asked: Asked | None = None) -> Report | None:
    """None for a bug. `asked` is given while the configuration is composed: then every ValueError is about that."""
    if isinstance(error, UsageError):
        return Report(str(error), 2)
    if isinstance(error, RunError):
        return Report(str(error), 1)
    if isinstance(error, KeyboardInterrupt):
        return Report(str(error) or "interrupted", error.exit_code if isinstance(error, Interrupted) else 130)
    if str(error) == NO_TRIAL:
        return Report("no trial of the search succeeded: what became of its runs is below", 1)
    if _out_of_memory(error):
        return Report("out of memory: take a smaller batch_size, architecture or resolution, or fewer samples", 1)
    message = None
    if "hydra" in sys.modules:
        message = _configuration(error, Asked()) if asked is None else _composition(error, asked)
    if message is None and isinstance(error, OSError):
        return _system(error, asked)
    return Report(message, 2) if message else None


def _out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's, or the RuntimeError of torch's allocator on the CPU; without importing torch."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    told = ("not enough memory", "can't allocate memory")
    return named or (isinstance(error, RuntimeError) and any(words in str(error) for words in told))


def show(command: str, report: Report, error: BaseException | None = None) -> int:
    """Prints the report, under GANTOOL_DEBUG=1 with the traceback, and returns the exit code."""
    if error is not None and os.environ.get("GANTOOL_DEBUG") == "1":
        traceback.print_exception(error.__cause__ or error)
    print(f"{' '.join(['gantool', command]).strip()}: {report.message}", file=sys.stderr)
    return report.code


def _system(error: OSError, asked: Asked | None) -> Report | None:
    """A missing file is the user's mistake only while nothing of ours was to be read yet."""
    if error.errno in DISK_FULL:
        place = f"into {asked.folder}" if asked and asked.folder else "a file"
        return Report(f"disk full: could not write {error.filename or place}", 1)
    if (error.errno in REFUSED or (asked is not None and error.errno == errno.ENOENT)) and error.filename is not None:
        return Report(f"cannot use {error.filename}: {(error.strerror or '').lower()}; choose another place", 2)
    return None


def _composition(error: BaseException, asked: Asked) -> str | None:
    """What Hydra, OmegaConf and YAML refuse: all of it is a mistake in the configuration."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException

    if isinstance(error, MissingConfigException):
        return _unknown_option(error, asked)
    if "'objective@objective.base" in str(error):
        return (
            "objective.base: this objective is built on no other: drop it, or take objective=info, feature_matching "
            "or auxiliary_classifier, which are"
        )
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, error.message, asked)
    if isinstance(error, AssertionError | AttributeError):  # OmegaConf's own defects, where it sets into null
        written = [override for override in asked.overrides if "hydra.sweeper.params" in override.partition("=")[0]]
        return f"{written[0]}: sweep over KEY=VALUE,VALUE itself; that is for YAML files" if written else None
    for one in (error, error.__cause__, error.__context__):
        message = _configuration(one, asked, _overridden(error)) if one else None
        if message:
            return _at(error) + message
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return _no_option(asked)
    if isinstance(error, ValueError | HydraException):
        return _at(error) + _rest(str(error))
    return None


def _configuration(error: BaseException, asked: Asked, typed: str = "") -> str | None:
    """What is wrong with a value or a YAML file, by itself; `typed` is the key on the command line, if known."""
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, OmegaConfBaseException):
        return _bad_value(error, asked, typed)
    return _bad_yaml(error) if isinstance(error, YAMLError) else None


def _overridden(error: BaseException) -> str:
    found = re.match(r"Could not override '([^']+)'", str(error))
    return found[1] if found else ""


def _at(error: BaseException) -> str:
    """Which YAML file is to blame, where it is not the command's own."""
    found = re.match(r"In '((?!hydra/)[^']+/[^']+)':", str(error))
    return f"{found[1]}.yaml: " if found else ""


def _unknown_option(error: Any, asked: Asked) -> str:
    missing = str(error.missing_cfg_file)
    if missing in _EXTRAS:
        group, _, name = missing.rpartition("/")
        return f"{group}={name} needs a plugin: pip install 'gantool[{_EXTRAS[missing]}]'"
    group, _, name = missing.rpartition("/")
    if not group:
        return "leave out --config-path and --config-name: options of your own are found by --config-dir FOLDER"
    if _replayed(group, name, asked.overrides):
        return (
            f"{_at(error)}unknown option {group}={name}, which the earlier run was made with\n"
            "  if it is one of your own, name its folder again: --config-dir FOLDER"
        )
    choices = options(group, asked.folders) or list(error.options or ())
    own = "; of your own images: dataset=folder dataset.path=FOLDER" if group == "dataset" else ""
    return f"{_at(error)}unknown option {group}={name}\n  {hint(name, choices)}{own}"


def _replayed(group: str, name: str, typed: Sequence[str]) -> bool:
    """Does an earlier run choose this option, and not the command line that resumes it?"""
    pairs = [(key.lstrip("+"), value) for key, _, value in (override.partition("=") for override in typed)]
    chosen = any(re.split("[@.]", key)[0] == group and name in re.split(r"[^\w/-]+", value) for key, value in pairs)
    return not chosen and "resume" in dict(pairs)


def _unreadable(override: str, message: str, asked: Asked) -> str:
    if "=" not in override and not override.startswith("~"):
        groups = [path.parent.name for folder in asked.folders for path in folder.glob(f"*/{override}.yaml")]
        groups += ["run"] if asked.command in ("sample", "evaluate", "export") and Path(override).is_dir() else []
        meant = f"\n  did you mean {groups[0]}={override}?" if groups else ""
        return f"cannot read {override!r}: settings are written key=value{meant}"
    reason = re.sub(r"^Error parsing override .*\n", "", message).splitlines()[0]
    surplus = [override.count(left) - override.count(right) for left, right in ("[]", "()", "{}")]
    if any(surplus):
        reason = f"a bracket is not {'closed' if max(surplus) > 0 else 'opened'}"
    elif re.match(r"[^=]*=\s*=", override):
        reason = f"it has one = too many: {re.sub(r'=[ =]+', '=', override)}"
    elif override.endswith(","):
        reason = f"nothing follows its last comma: {override.rstrip(',')}"
    elif reason.startswith(("no viable alternative", "extraneous input", "mismatched input")):
        reason = "behind = there must be a word, a number, a 'text in quotes' or a [list,of,them]"
    if re.match(r"[^=]*\s=", override):
        reason = "there is a space before its ="
    elif reason.startswith("LexerNoViableAlt"):
        open_quote = any(override.count(mark) % 2 for mark in "'\"")
        reason = "a quote is not closed" if open_quote else "a character that needs quotes"
    return f"cannot read {override!r}: {reason}"


def _bad_value(error: Any, asked: Asked, typed: str) -> str:
    """An error of OmegaConf, which knows the key and its neighbours."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationResolutionError

    place = re.search(r"full_key: (\S+)", str(error))
    key, said = str(error.full_key or (place[1] if place else "")), str(error).splitlines()[0]
    choice = re.search(r"hydra\.runtime\.choices\.(\w+)", said)
    if re.match("Invalid type assigned: .* is not a subclass of", said):
        return f"{key} holds settings of its own: set {key}.KEY=..., not {key} itself"
    if choice:
        return f"every run needs {choice[1]}=...: it cannot be left out"
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and not isinstance(error, InterpolationResolutionError):
        return _unknown_key(key, typed or key, error.parent_node, asked)
    return f"{key}: {said}" if key else said


def _unknown_key(key: str, typed: str, parent: Any, asked: Asked) -> str:
    from omegaconf import OmegaConf

    group, *below = typed.split(".")
    if group in LISTS and below and key.count(".") <= 1:
        return f"unknown key {typed!r}\n  is {group} {below[0]} selected? Add it to {group}=[...]"
    if below and key == group and options(group, asked.folders):
        return f"unknown key {typed!r}\n  no option of {group} is selected: give {group}=..., too"
    known = owners(group, below, asked.folders) if below else []
    if known:
        return f"unknown key {key!r}\n  it is a key of {' and '.join(f'{group}={name}' for name in known)}"
    plain = OmegaConf.to_container(parent) if parent else {}
    inside = list(below_keys(plain, key.rpartition(".")[0], below[-1])) if below else []
    if inside:
        return f"unknown key {key!r}\n  did you mean {' or '.join(inside[:_FEW])}?"
    choices = {str(name) for name in (parent or {})} - {"hydra", "_target_"}
    if "." not in key and asked.folders:
        groups = groups_of(asked.folders[0], asked.command)
        found = places(key, groups - {"experiment"}, asked.folders)
        chosen = [group for group in sorted(groups) if key in options(group, asked.folders)]
        found += [f"{group}=[{key}]" if group in LISTS else f"{group}={key}" for group in chosen]
        if found:
            return f"unknown key {key!r}\n  did you mean {' or '.join(found[:_FEW])}?"
        choices |= groups
    if not choices and asked.folders:  # below a key that holds a single value
        found = places(below[-1], groups_of(asked.folders[0], asked.command) - {"experiment"}, asked.folders)
        if found:
            return f"unknown key {key!r}: {group} holds one value\n  did you mean {' or '.join(found[:_FEW])}?"
    above, dot, word = key.rpartition(".")
    meant, beside = MEANT.get(word, ""), choices | ({"hydra", "resume"} if asked.command == "train" else set())
    if meant.startswith(above + dot) and re.split("[=.]", meant.removeprefix(above + dot))[0] in beside:
        return f"unknown key {key!r}\n  did you mean {meant}?"
    return f"unknown key {key!r}\n  {hint(word, choices)}"


def _bad_yaml(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    return f"{place}no valid YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"


def _no_option(asked: Asked) -> str:
    """`objective=null`, `dataset=3`: Hydra does not say which override it was."""
    for override in asked.overrides:
        key, _, value = override.lstrip("+").partition("=")
        choices = options(key, asked.folders)
        if choices and re.fullmatch(r"(?i)null|true|false|[\d.+-]+(e[+-]?\d+)?", value):
            none = f"write {key}=[] for none; " if key in LISTS else ""
            none = "leave it out for none; " if key in ("experiment", "meta") else none
            return f"{key}={value} is no option of {key}\n  {none}choices: {', '.join(choices)}"
    return "a group takes the name of an option, or a list of names"


def _rest(message: str) -> str:
    """Hydra's other sentences, without its advice where ours is better."""
    ambiguous = re.match(r"Ambiguous value for argument '(([^=]+)=(.*))'", message)
    if ambiguous:
        whole, key, value = ambiguous.groups()
        one_list = "" if key in PATHS or "[" in value else f", or write {key}=[{value}] for one list"
        return f"{whole} is several values: add -m to run each of them{one_list}"
    no_group = re.match(r"(?:In '[^']+': )?Could not override '([^']+)'. No match in the defaults list", message)
    if no_group:
        return f"there is no group {no_group[1]!r} in this command; --help shows those there are"
    if re.match(r"(?:In '[^']+': )?Could not override '[^']+@experiment\.", message):
        return "an experiment must have `# @package _global_` as the first line of its file"
    no_option = re.match(r"(?:In '[^']+': )?Could not delete '([^']+)'. No match in the defaults list", message)
    if no_option:
        return f"~{no_option[1]} takes nothing away: {no_option[1]} is not selected"
    no_value = re.match(r"Could not delete from config\. '([^']+)' does not exist", message)
    if no_value:
        return f"~{no_value[1]} takes nothing away: {no_value[1]} is not set"
    return re.sub(r"^In '[^']+': ", "", " ".join(message.split()))
