"""What yolov5 looks for, and when it reports with an engine that knows no rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import COCO_CLASSES, Presence, track_buffer

yolov5_in_thresh = 3
"""Processed frames in a row that an object must be there; the task's ``TrackInterval`` wins."""

yolov5_out_thresh = 5
"""Processed frames in a row after which an object is forgotten; at least as long as its track may be lost."""

yolov5_classes = COCO_CLASSES
"""What is looked for unless the task's ``Extend.Classes`` says otherwise: everything."""


def new_state(algorithm: Mapping[str, Any]) -> Presence[str]:
    """The memory of one algorithm of one task, for engines that know no rules.

    Args:
        algorithm: its entry of the task.
    """
    return Presence(
        enter_frames=int(algorithm.get("TrackInterval", yolov5_in_thresh)),
        leave_frames=max(yolov5_out_thresh, track_buffer(algorithm)),
    )


yolov5_infos = new_state({})
"""The memory of those who call ``yolov5_logic`` without a state."""
