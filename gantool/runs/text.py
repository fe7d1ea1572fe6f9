"""Numbers, and what was played, as a person reads them."""

from collections.abc import Mapping
from typing import Any


def count(value: float, digits: int = 3) -> str:
    """1234567 -> 1.23M"""
    value = float(f"{value:.{digits}g}")  # first, or 999999 would be 1e+03k
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.{digits}g}{name}"
    return f"{value:g}"


def played(facts: Mapping[str, Any]) -> str | None:
    """The objective of a run's status, with a meta-algorithm, and an update that is not the usual one."""
    objective, how = facts.get("objective"), [facts.get("update"), facts.get("meta")]
    more = [str(one) for one in how if one not in (None, "alternating")]
    return f"{objective} ({', '.join(more)})" if objective and more else objective


def duration(seconds: float) -> str:
    """3725 -> 1h02m, 125 -> 2m05s"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
