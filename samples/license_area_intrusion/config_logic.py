"""When license_area_intrusion reports: how long a plate must stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import PlateBook, plate_rule, track_buffer

license_area_intrusion_in_thresh = 3
"""Processed frames that a plate must be there; the task's ``TrackInterval`` wins."""

license_area_intrusion_out_thresh = 5
"""Processed frames in a row after which a plate is forgotten; at least as long as its track may be lost."""

license_area_intrusion_classes = (0,)
"""The detector's classes that are plates."""


def new_state(algorithm: Mapping[str, Any]) -> PlateBook:
    """The memory of one algorithm of one task. A plate that is not seen for a moment has not left.

    Args:
        algorithm: its entry of the task.
    """
    return PlateBook(
        enter_frames=int(algorithm.get("TrackInterval", license_area_intrusion_in_thresh)),
        leave_frames=max(license_area_intrusion_out_thresh, track_buffer(algorithm)),
        settle_frames=license_area_intrusion_in_thresh,
        patient=True,
        rule=plate_rule(algorithm),
    )


license_area_intrusion_infos = new_state({})
"""The memory of those who call ``license_area_intrusion_logic`` without a state."""
