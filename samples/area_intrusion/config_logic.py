"""What area_intrusion looks for, and when it reports with an engine that knows no rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import Presence, track_buffer

area_intrusion_in_thresh = 3
"""Processed frames in a row that an object must be there; the task's ``TrackInterval`` wins."""

area_intrusion_out_thresh = 5
"""Processed frames in a row after which an object is forgotten; at least as long as its track may be lost."""

area_intrusion_classes = (0,)
"""What is looked for unless the task's ``Extend.Classes`` says otherwise: persons."""


def new_state(algorithm: Mapping[str, Any]) -> Presence[str]:
    """The memory of one algorithm of one task, for engines that know no rules.

    Args:
        algorithm: its entry of the task.
    """
    return Presence(
        enter_frames=int(algorithm.get("TrackInterval", area_intrusion_in_thresh)),
        leave_frames=max(area_intrusion_out_thresh, track_buffer(algorithm)),
    )


area_intrusion_infos = new_state({})
"""The memory of those who call ``area_intrusion_logic`` without a state."""
