"""What Python keeps of a step by itself: in no checkpoint, and in a record a constant."""

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

log = logging.getLogger(__name__)
OURS = vars(nn.Module()).keys()  # what torch keeps there
DEEP = 3  # lists in lists
LOOKS = 4  # of Forgotten


class Forgotten:
    """Tells, once, of what each step changes and no checkpoint has; sought in the first steps."""

    def __init__(self, look: Callable[[], Mapping[str, Any]]):
        self.look, self.seen = look, list[Mapping[str, Any]]()
        self.left = LOOKS

    def __call__(self) -> None:
        """To be called after each step."""
        if not self.left:
            return
        self.left -= 1
        self.seen.append(dict(self.look()))
        if self.left:
            return
        found = [set(changed(*two)) for two in itertools.pairwise(self.seen[1:])]  # the first step makes things
        self.seen.clear()
        if name := min(set.intersection(*found), default=None):
            log.warning(
                "%s changes in each step and is no buffer: if later steps go by it, a resumed run goes on otherwise, "
                "as no checkpoint has it; keep it by register_buffer", name,
            )  # fmt: skip


class Written(NamedTuple):
    """A tensor, and how often it was written to by then."""

    tensor: Tensor
    times: int


def plain(owners: Mapping[str, object], known: Collection[int]) -> dict[str, Any]:
    """Numbers, texts and tensors in attributes of objects, in lists and dictionaries too; by `owner.attribute`.

    `known`: ids of the tensors that are parameters, buffers or the like.
    """
    found: dict[str, Any] = {}
    for name, owner in owners.items():
        for key, value in getattr(owner, "__dict__", {}).items():
            if key not in OURS or not isinstance(owner, nn.Module):
                found[f"{name}.{key}"] = _kept(value, known, DEEP)
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Attributes that are another number, or a tensor that was written to; not what is made anew."""
    return [name for name, value in after.items() if name in before and _differ(before[name], value)]


def _kept(value: Any, known: Collection[int], depth: int) -> Any:
    if isinstance(value, Tensor):
        return None if id(value) in known or value.is_inference() else Written(value, value._version)
    if isinstance(value, bool | int | float | complex | str):
        return value
    return tuple(_kept(each, known, depth - 1) for each in _inside(value)) if depth else None


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    if isinstance(value, list | tuple):
        yield from value


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, Written) and isinstance(other, Written):
        return one.tensor is other.tensor and one.times != other.times
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) != len(other) or any(map(_differ, one, other))
    plainly = (bool, int, float, complex, str)
    return isinstance(one, plainly) and isinstance(other, plainly) and one != other and (one == one or other == other)
