"""YOLOv5 detectors: https://github.com/ultralytics/yolov5 (and YOLOv5-face with its points).

Boxes of a cell, with s the sigmoid of what the file says: centre = (2 s - 0.5 + cell) * stride, size = (2 s)² * anchor;
score = objectness * class; only boxes of one class suppress each other. Points are raw * anchor + cell * stride.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamserver.models._yolo_anchored import anchored_family, load_anchored, suggest_anchored
from streamserver.models._yolo_cells import Anchors
from streamserver.models._yolo_detector import YoloDetector
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

ANCHORS: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)

FAMILY = anchored_family("YOLOv5", ANCHORS, class_aware=True)

_PLATES = "hyperlpr3_detect"


def load(
    path: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    normalisation: Normalisation | None = None,
    classes: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> YoloDetector:
    """Opens an ONNX file; see ``load_detector`` for the arguments."""
    return load_anchored(
        path,
        FAMILY,
        device=device,
        threads=threads,
        normalisation=normalisation,
        classes=classes,
        options=options,
    )


def suggest(session: Session) -> Suggestion | None:
    """How the yolov5 element would run the file; ``None`` if it cannot."""
    found = suggest_anchored(session, FAMILY, element="yolov5", certainty=0.6)
    if found is None or not session.name.startswith(_PLATES):
        return found
    return dataclasses.replace(
        found,
        configure={"threshold_conf": 0.5, "threshold_nms": 0.5},
        notes=(f"number plates with their corners; name it by its entry of configs/models.yaml, e.g. {_PLATES}_640",),
        certainty=0.95,
    )
