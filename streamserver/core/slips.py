"""Words that were probably meant to be others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

NEAR = 0.75
"""How alike a slip and the word that is meant are at least, from 0 to 1."""

SAME_BUT_FOR_A_SLIP = 0.88
"""The same where the other word may well be right, such as ``src_port`` beside ``dst_port``."""

_LONGEST = 40


def nearest(word: str, known: Iterable[str], *, likeness: float = NEAR) -> str:
    """The known word that ``word`` probably was meant to be, or an empty string; capitals do not matter."""
    lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word[:_LONGEST].lower(), list(lower), n=1, cutoff=likeness)
    return lower[found[0]] if found else ""
