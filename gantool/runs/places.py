"""Where data and what is computed of them lie, unless a setting says so. A variable that is empty is not set."""

import os
from pathlib import Path


def data_root() -> str:
    """$GANTOOL_DATA, or `data`, which is of the current folder."""
    return os.environ.get("GANTOOL_DATA") or "data"


def cache_root() -> Path:
    """$GANTOOL_CACHE, or ~/.cache/gantool; absolute."""
    return absolute(os.environ.get("GANTOOL_CACHE") or "~/.cache/gantool")


def absolute(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
