"""Where a filter looks, for those who draw it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.geometry.rules.spec import SpecError, parse_rules
from streamserver.vision.draw.places import Place


def places_of(configure: Mapping[str, Any], channel_id: int) -> list[Place]:
    """The zones and lines of a filter's own rules for a channel; none where the element refuses its configuration."""
    try:
        specs = parse_rules(configure).get(channel_id, ())
    except SpecError:
        return []
    return [Place(area, spec.direction_xy) for spec in specs for area in spec.areas if len(area)]
