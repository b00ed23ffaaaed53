"""When license_area_intrusion reports: how long it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import Presence

license_area_intrusion_in_thresh = 3
"""Processed frames in a row that a plate must be read alike; a smaller ``TrackInterval`` of the task wins."""

license_area_intrusion_out_thresh = 5
"""Processed frames in a row after which a plate is forgotten."""

license_area_intrusion_classes = (0,)
"""The detector's classes that are plates."""


def new_state(algorithm: Mapping[str, Any]) -> Presence[str]:
    """The memory of one algorithm of one task.

    Args:
        algorithm: its entry of the task.
    """
    wanted = int(algorithm.get("TrackInterval", license_area_intrusion_in_thresh))
    return Presence(
        enter_frames=min(wanted, license_area_intrusion_in_thresh), leave_frames=license_area_intrusion_out_thresh
    )


license_area_intrusion_infos = new_state({})
"""The memory of those who call ``license_area_intrusion_logic`` without a state."""
