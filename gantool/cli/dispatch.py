"""`gantool COMMAND ...`: finds the command. Imports nothing heavy: `gantool --help` must answer at once."""

import difflib
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple

import gantool


class Command(NamedTuple):
    module: str
    help: str
    hydra: bool  # run(cfg) through Hydra, or run(argv)


COMMANDS = {
    "train": Command("gantool.commands.train", "train a GAN, resume a run, or sweep over settings", True),
    "sample": Command("gantool.commands.sample", "render samples of a trained run", True),
    "evaluate": Command("gantool.commands.evaluate", "measure a trained run with metrics, or compare several", True),
    "export": Command("gantool.commands.export", "write a trained generator for use without gantool", True),
    "bench": Command("gantool.commands.bench", "measure how fast a training would run, and why", True),
    "runs": Command("gantool.commands.runs", "list the runs below a folder: status, step, last metrics", False),
    "results": Command("gantool.commands.results", "train the experiments that state a figure, and compare", False),
    "list": Command("gantool.commands.list", "list what can be chosen in each group of settings", False),
    "doctor": Command("gantool.commands.doctor", "check versions, devices, data folders and extras", False),
}

HELP = """\
usage: gantool COMMAND [settings and flags]

Train generative adversarial networks from the command line.

{commands}

examples
  gantool train                                              real digits, no download
  gantool train dataset=mnist objective=wgan_gp 'trick=[ema]'
  gantool train -m objective=non_saturating,wgan_gp seed=1,2,3
  gantool train resume=outputs/...                           go on where a run stopped
  gantool sample                                             a picture of the newest run
  gantool evaluate 'metric=[memorization]'                   figures of the newest run

`gantool COMMAND --help` says more of a command, `gantool list` what there is to choose.
Tab completion: eval "$(gantool -sc install=bash)"   (fish: gantool -sc install=fish | source)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `gantool runs >&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the process ends)
        stream = getattr(sys, name)
        if getattr(stream, "errors", None) == "strict":  # a terminal of ASCII is shown ? for what it does not know
            stream.reconfigure(errors="replace")
    try:
        code = _main(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `gantool runs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # `gantool --help >/dev/full`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"gantool: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_help(), end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if "--version" in argv:
        print(f"gantool {gantool.__version__}")
        return 0
    if argv[0] in ("--shell-completion", "-sc"):
        from gantool.cli import completion

        return completion.run(argv[1:])
    try:
        os.getcwd()
    except FileNotFoundError:
        print("gantool: the current folder has been deleted: go to another one", file=sys.stderr)
        return 2
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        print(f"gantool: {_unknown(argv)}", file=sys.stderr)
        return 2
    if COMMANDS[name].hydra:
        from gantool.cli import launch

        # threads that spin long while they wait cost a factor of 20 where jobs share the cores, and threads that sleep
        # at once a factor of 2 where they do not; read by GNU's OpenMP when torch is loaded
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        return launch.run(name, rest)
    return _plain(name, rest)


def _plain(name: str, argv: list[str]) -> int:
    """A command without Hydra."""
    from gantool.cli.bugs import report_bug
    from gantool.cli.errors import explain, show

    try:
        return importlib.import_module(COMMANDS[name].module).run(argv)
    except SystemExit as end:  # argparse
        return end.code if isinstance(end.code, int) else 2
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        return show(name, explain(error) or report_bug(error), error)


def _help() -> str:
    return HELP.format(commands="\n".join(f"  {name:10}{command.help}" for name, command in COMMANDS.items()))


def _unknown(argv: list[str]) -> str:
    word = argv[0]
    if word.startswith("-") or "=" in word:
        return f"missing command; did you mean 'gantool train {shlex.join(argv)}'?"
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(COMMANDS)}."
    return f"no such command {word!r}. {hint}"
