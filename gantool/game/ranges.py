"""Ranges as type names. A constructor that says `real: Share` documents, and is checked for, a number in [0, 1].

The configuration reads these names from the source text of a signature (gantool/config/signature.py), so a bad value
is refused, with the key's name, before torch is imported or a run folder is made.
"""

from typing import TypeAlias

Share: TypeAlias = float  # in [0, 1]
Positive: TypeAlias = float  # > 0
NonNegative: TypeAlias = float  # >= 0
Count: TypeAlias = int  # >= 1
Natural: TypeAlias = int  # >= 0
