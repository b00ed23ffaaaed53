"""Accepted requests, as the store keeps them."""

from __future__ import annotations

import copy
import json
from typing import Any

from streamserver.core.messages import NEW_TASK_BODY, canonical, parse_create

TYPES = {1: "tripwire", 2: "license_area_intrusion", 3: "yolov5", 6: "area_intrusion", 9: "oldie"}


def request(*types: int, address: str = "rtsp://cam/1", **more: Any) -> dict[str, Any]:
    """A canonical request for ``types``; ``more`` goes into the body."""
    body = copy.deepcopy(NEW_TASK_BODY)
    body["InputSrc"]["StreamSrc"]["Address"] = address
    body["Algorithm"] = [{**copy.deepcopy(NEW_TASK_BODY["Algorithm"][0]), "Type": number} for number in types]
    body.update(more)
    accepted = parse_create(
        json.dumps(body).encode(),
        known_types=TYPES,
        max_bytes=1_000_000,
        events_kept_locally=False,
        source_exists=lambda path: True,
    )
    return canonical(accepted)
