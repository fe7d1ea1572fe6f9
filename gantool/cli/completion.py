"""Tab completion: `eval "$(gantool -sc install=bash)"`.

The shell then asks `gantool -sc query=bash` with the line so far in COMP_LINE. Hydra answers for a program of one
command, so the command's name is completed here, and taken out of the line before Hydra sees it.
"""

import contextlib
import glob
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gantool.cli import argv as arguments
from gantool.cli.dispatch import COMMANDS
from gantool.config.schema import conf_dir
from gantool.errors import UsageError

SEPARATOR = {"bash": " ", "zsh": " ", "fish": "\n"}


def run(argv: Sequence[str]) -> int:
    """`install=SHELL` and `uninstall=SHELL` print shell code; `query=SHELL` prints what may follow."""
    action, _, shell = (argv[0] if argv else "").partition("=")
    if action in ("install", "uninstall") and shell in SEPARATOR:
        return _hydra("train", ["gantool", "-sc", f"{action}={shell}"])
    if action != "query" or shell not in SEPARATOR:
        print("usage: gantool -sc install=bash|zsh|fish")
        return 2
    print(SEPARATOR[shell].join(_candidates(os.environ.get("COMP_LINE", ""), shell)))
    return 0


def _candidates(line: str, shell: str) -> list[str]:
    """All that may stand for the last word of the line."""
    words = line.split() + ([""] if line.endswith(" ") else [])
    if len(words) <= 2:
        return sorted(name for name in COMMANDS if name.startswith("".join(words[1:])))
    command, last = words[1], words[-1]
    if command == "list":
        return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name.startswith(last))
    if command not in COMMANDS or not COMMANDS[command].hydra:
        return []
    key, equals, value = last.partition("=")
    if equals and key in arguments.PATHS:
        return [f"{key}={path}" for path in _paths(key, value)]
    try:
        flags, overrides = arguments.split(words[2:-1])
    except UsageError:
        return []
    folders = [item for folder in arguments.config_dirs(flags) for item in ("--config-dir", folder)]
    several = ["-m"] if arguments.is_multirun(flags) else []
    return _ask_hydra(command, folders, " ".join(["gantool", *several, *overrides, last]), shell)


def _paths(key: str, value: str) -> list[str]:
    names = ["latest"] if key in ("run", "resume") and "latest".startswith(value) else []
    found = glob.glob(glob.escape(os.path.expanduser(value)) + "*")
    return names + sorted(f"{path}/" if os.path.isdir(path) else path for path in found)


def _ask_hydra(command: str, flags: list[str], line: str, shell: str) -> list[str]:
    """Nothing where the line so far cannot be composed: completion must never print an error."""
    answer = io.StringIO()
    with _environment("COMP_LINE", line), contextlib.redirect_stdout(answer), contextlib.redirect_stderr(io.StringIO()):
        try:
            _hydra(command, ["gantool", *flags, "-sc", f"query={shell}"])
        except (Exception, SystemExit):
            return []
    return answer.getvalue().split()


def _hydra(command: str, argv: list[str]) -> int:
    from gantool.cli import launch

    launch.through_hydra(command, argv)
    return 0


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
