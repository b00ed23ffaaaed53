"""Hypothesis strategies that change a good JSON value in one to three places; ``mutations`` does the same by a seed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.mutations import VALUES

_TEXTS = st.text(max_size=8) | st.sampled_from(["cross", "enter", "foot", "both", "motion", "08:00", "24:00", "person"])
_NUMBERS = st.integers(-5, 1200) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXTS
_KEYS = st.sampled_from(
    ["X", "Y", "HotArea", "TripWire", "Extend", "Events", "Lines", "Points", "Schedule", "Classes", "Mode", "ports"]
)

JSON = st.sampled_from(VALUES) | st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
"""Any small value, with extremes and with words and keys that mean something here."""


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """``good`` with one to three values replaced, taken away, doubled or added."""
    root = {"": copy.deepcopy(good)}
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(("replace", "replace", "drop", "double", "add")))
        if how == "drop" and container is not root:
            del container[key]
        elif how == "double" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif how == "add" and isinstance(container[key], dict):
            container[key][draw(_KEYS)] = copy.deepcopy(draw(JSON))
        else:
            container[key] = copy.deepcopy(draw(JSON))
    return root[""]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
