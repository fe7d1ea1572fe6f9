"""What is computed once and kept for all runs: $GANTOOL_CACHE or ~/.cache/gantool, which may be deleted at any time."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gantool.errors import RunError, UsageError
from gantool.runs import checkpoint
from gantool.runs.places import cache_root

log = logging.getLogger(__name__)


def kept(kind: str, key: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives for the key, from the cache if it has it whole: tensors on the CPU and plain values.

    A file appears under its name complete or not at all, so jobs may make the same one at once: the last one stays.
    Where nothing can be kept there is a warning.
    """
    path = place(kind, key)
    if os.path.exists(path):
        try:
            return checkpoint.load(path)
        except UsageError:
            log.info("'%s' is damaged: it is made again", path)
    state = make()
    try:
        checkpoint.save(path, state)
    except (UsageError, RunError) as error:
        log.warning("the next run will have to make its %s again: %s", kind, error)
    return state


def place(kind: str, key: list[Any]) -> Path:
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=12).hexdigest()
    return cache_root() / kind / name


def digest(weights: Mapping[str, Tensor]) -> str:
    """16 hex digits that tell one set of weights from another."""
    found = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        found.update(name.encode() + weights[name].cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
