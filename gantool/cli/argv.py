"""The command line as Hydra can read it: repairs of what its parsers stumble over."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from gantool.cli.words import MEANT
from gantool.config.schema import LISTS
from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, runs_below
from gantool.runs.resume import literal

TAKE_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
}  # fmt: skip
MULTIRUN = ("-m", "--multirun")
FLAGS = {
    *TAKE_VALUE, *MULTIRUN, "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--info", "-i",
}  # fmt: skip
INFOS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")  # that a run or a sweep is to be written into
PATHS = ("run", "resume", "out", "dataset.path", "dataset.root", "dataset.cache", "inception_weights", *FOLDERS)
PLAIN = re.compile(r"[\w./%@-]*", re.ASCII)  # of a path, what Hydra's grammar takes without quotes
NO_TEXT = re.compile(
    r"(?i)true|false|[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?|[+-]?(inf|nan)"
)  # unless in quotes
QUOTED = r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
PIECE = re.compile(rf"\s*{QUOTED}\s*(?=,)|[^,]*")  # of values between commas
ITEM = re.compile(rf"{QUOTED}(?=\s*(?:[,\]]|$))|[^\[\],]+")  # of a list
# a value that is written in that grammar already
GRAMMAR = re.compile(r"""['"\[{]|\$\{|(choice|range|interval|glob|sort|shuffle|tag|str|json_str|extend_list)\(.*\)$""")


def split(argv: Sequence[str], command: str = "") -> tuple[list[str], list[str]]:
    """(flags, overrides). argparse reads `--cfg job seed=1` but not `seed=1 --cfg job steps=2`: flags go first."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if token.startswith("=") or not token.strip("- "):
            raise UsageError(f"cannot read {token!r}: settings are written key=value")
        if not token.startswith("-"):
            overrides.append(token)
        elif token in ("--info", "-i"):  # its value is optional, and must not be an override
            flags.append(f"--info={rest.pop(0) if rest and rest[0] in INFOS else 'all'}")
        elif token.startswith("--experimental-rerun"):
            raise UsageError("--experimental-rerun runs code from a file and is not offered: use resume=RUN")
        elif token in ("--shell-completion", "-sc"):
            raise UsageError(f"tab completion is installed for all commands at once: gantool {token} install=bash")
        elif token.partition("=")[0] not in FLAGS:
            key, _, value = token.lstrip("-").partition("=")
            key = key.replace("-", "_")
            value = value or (rest[0] if rest and not rest[0].startswith("-") and "=" not in rest[0] else "VALUE")
            meant = (MEANT if command == "train" else {}).get(key, f"{key}={value}")
            raise UsageError(f"there is no flag {token.partition('=')[0]}; settings have no dashes: {meant}")
        else:
            flags.append(token)
            if token in TAKE_VALUE and rest:
                flags.append(rest.pop(0))
    return flags, overrides


def quoted_path(override: str, multirun: bool = True) -> str:
    """`run=my (first) run` -> `run='my (first) run'`; a sweep `run=a,b (2)` is quoted piece by piece."""
    key, equals, value = override.partition("=")
    key = key.lstrip("+")
    if key not in PATHS or _no_pieces(value):
        return override
    one = key in FOLDERS or (key != "run" and not multirun) or os.path.exists(os.path.expanduser(value))
    paths = [value] if one else pieces(value)
    each = (path if GRAMMAR.match(path) else quoted(os.path.expanduser(path)) for path in paths)
    return f"{override.partition('=')[0]}{equals}{','.join(each)}"


def pieces(value: str) -> list[str]:
    """`a,b (2),'c, d'` -> a; b (2); 'c, d'. What is in quotes is one piece, and keeps them."""
    found, rest = [], f"{value},"
    while rest:
        piece = PIECE.match(rest)[0]  # type: ignore[index]  # it may be empty
        found.append(piece.strip() if GRAMMAR.match(piece.strip()) else piece)
        rest = rest[len(piece) + 1 :]
    return found


def _no_pieces(value: str) -> bool:
    """Is it written in Hydra's grammar, but not as texts in quotes?"""
    return bool(GRAMMAR.match(value)) and value[0] not in "'\""


def named(override: str) -> str:
    """`classes=[true,1e3,a (b)]` -> `classes=['true','1e3','a (b)']`: classes are text, but whole numbers, which may be
    indices."""
    key, equals, value = override.partition("=")
    if key != "classes" or (_no_pieces(value) and not value.startswith("[")):
        return override

    def name(found: re.Match[str]) -> str:
        word, listed = found[0].strip(), value.startswith("[")
        if re.fullmatch(rf"{QUOTED}|0|[1-9]\d*|\$.*|", word) or (word.lower() == "null" and not listed):
            return found[0]
        return literal(word) if listed and word.lower() == "null" else quoted(word)

    return key + equals + ITEM.sub(name, value)


def whole(override: str) -> str:
    """`steps=1e3,2.5e3` -> `steps=1000,2500`: to Hydra they would be no whole numbers."""
    key, equals, value = override.partition("=")
    if key.lstrip("+") in (*PATHS, "classes") or key.lstrip("+").startswith("hydra.") or re.search(r"['\"$]", value):
        return override

    def written_out(found: re.Match[str]) -> str:
        if not re.fullmatch(r"(?i)\s*\d+(\.\d+)?e\+?0?([1-9]|1[0-8])\s*", found[0]):
            return found[0]
        number = Decimal(found[0].strip())
        return str(int(number)) if number == number.to_integral_value() else found[0]

    return key + equals + re.sub(r"[^\[\](){},:]+", written_out, value)


def based(override: str) -> str:
    """`objective.base=hinge`, which names an option -> `objective@objective.base=hinge`, as Hydra has it."""
    key, equals, value = override.partition("=")
    if key == "objective.base" and value.startswith("["):
        raise UsageError("objective.base takes the name of one option: objective.base=hinge")
    return f"objective@{override}" if equals and re.fullmatch(r"objective(\.base)+", key) and value else override


def once(override: str) -> str:
    """`trick=[ema,ema]` is refused: Hydra would pass over the second."""
    key, _, value = override.partition("=")
    if key in LISTS:
        for names in re.findall(r"\[([^\[\]]*)\]", value):
            each = [name.strip() for name in names.split(",")]
            twice = next((name for name in each if each.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"{key}=[{names}] names {twice} twice: name it once")
    return override


def opened(override: str) -> str:
    """`dataset.root=X` -> `++dataset.root=X`: only the earlier run knows which keys its dataset has."""
    return f"++{override}" if override.startswith("dataset.") else override


def expanded(override: str, multirun: bool, command: str) -> str:
    """`run=outputs/multirun/*` -> `run=A,B,C`: the runs that a pattern, or a folder that is none itself, stands for."""
    key, equals, value = override.partition("=")
    if key != "run" or _no_pieces(value) or ("," in value and os.path.exists(os.path.expanduser(value))):
        return override
    runs: list[str] = []
    for piece in pieces(value):
        runs += [piece] if GRAMMAR.match(piece) else map(quoted, _runs(piece, command))
    if len(runs) > 1 and not multirun:
        what = "evaluate and compare them" if command == "evaluate" else f"{command} each of them"
        raise UsageError(f"{override} is {len(runs)} runs: add -m to {what}")
    return f"{key}{equals}{','.join(runs)}"


def _runs(piece: str, command: str) -> list[str]:
    path = os.path.expanduser(piece)
    if os.path.exists(path):
        below = [] if (Path(path) / "status.json").is_file() else runs_below(Path(path))
        return _begun(piece, [str(run.root) for run in below], command) or [path]
    if not glob.has_magic(path):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(path))]
    found = [
        [str(match)] if match.suffix == ".pt" else [str(run.root) for run in runs_below(match)] for match in matches
    ]
    if not any(found):
        raise UsageError(f"no run matches {piece}; gantool runs lists those there are")
    return _begun(piece, list(dict.fromkeys(run for runs in found for run in runs)), command)


def _begun(piece: str, runs: list[str], command: str) -> list[str]:
    """Without the jobs of a sweep that were refused for their settings, which have a status only; says so."""
    refused = [run for run in runs if os.path.isdir(run) and not RunFolder(run).config.is_file()]
    if refused and len(refused) == len(runs):
        raise UsageError(f"run={piece}: no training has begun there, gantool runs says why: name another run")
    if refused:
        print(f"gantool {command}: passed over, as no training has begun there: {', '.join(refused)}", file=sys.stderr)
    return [run for run in runs if run not in refused]


def quoted(text: str) -> str:
    """A string as Hydra's grammar wants it: as it is where that is possible. `null` stays null."""
    return text if PLAIN.fullmatch(text) and not NO_TEXT.fullmatch(text) else literal(text)


def is_multirun(flags: Iterable[str]) -> bool:
    return any(flag in MULTIRUN for flag in flags)


def config_dirs(flags: Sequence[str]) -> list[str]:
    """The folders of the user's own options. UsageError where one is not there."""
    found = [flag.partition("=")[2] for flag in flags if flag.startswith(("--config-dir=", "-cd="))]
    found += [value for flag, value in zip(flags, flags[1:], strict=False) if flag in ("--config-dir", "-cd")]
    missing = next((folder for folder in found if not os.path.isdir(folder)), None)
    if missing is not None:
        raise UsageError(
            f"--config-dir: there is no folder '{missing}': give the one that your options' folders are in"
        )
    return found


def pop_value(key: str, overrides: list[str]) -> str | None:
    """Takes `key=value` out of the overrides; None where it does not stand there. The last one counts."""
    found = [override for override in overrides if override.partition("=")[0].lstrip("+") == key]
    for override in found:
        overrides.remove(override)
    return found[-1].partition("=")[2].strip("'\"") if found else None
