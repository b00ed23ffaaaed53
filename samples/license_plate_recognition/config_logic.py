"""When license_plate_recognition reports: how often a plate must be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import PlateBook, plate_rule

license_plate_recognition_in_thresh = 3
"""Processed frames in a row in which a plate must be read alike."""

license_plate_recognition_out_thresh = 5
"""Processed frames in a row after which a plate is forgotten."""

license_plate_recognition_classes = (0,)
"""The detector's classes that are plates."""


def new_state(algorithm: Mapping[str, Any]) -> PlateBook:
    """The memory of one algorithm of one task.

    Args:
        algorithm: its entry of the task.
    """
    return PlateBook(
        enter_frames=license_plate_recognition_in_thresh,
        leave_frames=license_plate_recognition_out_thresh,
        rule=plate_rule(algorithm),
    )


license_plate_recognition_infos = new_state({})
"""The memory of those who call ``license_plate_recognition_logic`` without a state."""
