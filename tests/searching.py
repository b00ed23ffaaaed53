"""How far a search goes: short with every change, long with ``PROPERTY_TESTS=search`` (``tests/conftest.py``)."""

from __future__ import annotations

import os

SEARCHING = os.environ.get("PROPERTY_TESTS") == "search"
LONG = 1000


def examples(short: int) -> int:
    """How many examples a property test looks at, of which ``short`` show what it is about."""
    return max(short, LONG) if SEARCHING else short
