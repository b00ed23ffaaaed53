"""Where a filter looks, for those who draw it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from streamserver.geometry.rules.entries import Entry, parse_entries
from streamserver.geometry.rules.reading import SpecError
from streamserver.geometry.rules.rule import RuleSpec
from streamserver.vision.draw.places import Place


def places_of(configure: Mapping[str, Any], channel_id: int) -> list[Place]:
    """The zones and lines of a filter's own rules for a channel; none where the element refuses its configuration."""
    try:
        entries = parse_entries(configure).get(channel_id, ())
    except SpecError:
        return []
    return [place for entry in entries for place in places_in(entry)]


def places_beside(entries: Iterable[Entry], size_wh: tuple[int, int]) -> list[Place]:
    """Those that a picture of this size does not show any part of."""
    return [place for entry in entries for place in places_in(entry) if _is_beside(place, size_wh)]


def _is_beside(place: Place, size_wh: tuple[int, int]) -> bool:
    points = place.points_xy
    return bool(np.any(points.max(axis=0) < 0) or np.any(points.min(axis=0) > size_wh))


def places_in(entry: Entry) -> Iterator[Place]:
    """The zones and lines of one entry."""
    spec = entry.spec
    if isinstance(spec, RuleSpec):
        yield from (Place(line, spec.direction_xy, is_line=True) for line in spec.lines)
        yield from (Place(area) for area in spec.include)
    else:
        yield from (Place(area, spec.direction_xy) for area in spec.areas if len(area))
    yield from (Place(area, is_excluded=True) for area in spec.conditions.exclude)
