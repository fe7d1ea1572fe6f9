"""What nobody had foreseen: a defect of gantool, or of a class of the user's own."""

import sysconfig
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from gantool.cli.errors import Report
from gantool.errors import OWN

HOUSE = Path(__file__).resolve().parents[1]
PYTHON = Path(sysconfig.get_path("stdlib")).resolve()
INSTALLED = {"site-packages", "dist-packages"}


def report_bug(error: BaseException, logged: Path | None = None) -> Report:
    """One sentence. The traceback goes to a file, unless it is in the log `logged` already. Exit code 1."""
    if logged is None:
        handle, name = tempfile.mkstemp(prefix="gantool-", suffix=".traceback.txt")
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        logged = Path(name)
    said = (str(error).strip() or "no message").splitlines()[0]
    said, where = f"{type(error).__name__}: {said}", f"  the traceback is in {logged}"
    place = own_place(error)
    if place:
        return Report(f"an error in your own {place}: {said}\n{where}", 1)
    if OWN:
        return Report(f"an error, perhaps by what {_listed(sorted(OWN))} gives or lacks: {said}\n{where}", 1)
    return Report(f"internal error: {said}\n{where}; please report it, with the command that you gave", 1)


def _listed(names: Sequence[str]) -> str:
    """`your own my_gan.Mine`, or `one of your own classes my_gan.Mine, my_gan.Other`."""
    return f"your own {names[0]}" if len(names) == 1 else f"one of your own classes {', '.join(names)}"


def own_place(error: BaseException) -> str | None:
    """`my_gan/mine.py, line 12`, where a file of the user's own raised the error: of the frames that are neither
    Python's nor an installed package's it has the innermost. None where that is gantool's.

    What an object of a class of the user's own lacks is that class's error, whoever looks for it.
    """
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [(path, line) for path, line in frames if _inside(path) or _own(path)]
    if ours and _own(ours[-1][0]):
        path, line = ours[-1]
        return f"{_shown(path)}, line {line}"
    kind = type(error.obj) if isinstance(error, AttributeError) and error.obj is not None else None
    return _class_place(kind) if kind else None


def _class_place(kind: type) -> str | None:
    import inspect

    try:
        path, (_, line) = Path(inspect.getfile(kind)), inspect.getsourcelines(kind)
    except (OSError, TypeError):  # built in, or its file is gone
        return None
    return f"{_shown(path)}, line {line}, class {kind.__name__}" if _own(path) else None


def _inside(path: Path) -> bool:
    return path.resolve().is_relative_to(HOUSE)


def _own(path: Path) -> bool:
    """Is it a file, and neither gantool's, nor Python's, nor an installed package's?"""
    real = path.resolve()
    foreign = real.is_relative_to(PYTHON) or INSTALLED & {*path.parts, *real.parts}
    return real.is_file() and not foreign and not _inside(path)


def _shown(path: Path) -> str:
    """Relative where it lies below the current folder."""
    real, here = path.resolve(), Path.cwd().resolve()
    return str(real.relative_to(here) if real.is_relative_to(here) else real)
