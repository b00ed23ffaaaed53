"""YOLOv7 detectors: https://github.com/WongKinYiu/yolov7.

As YOLOv5, but for other anchors, and boxes of all classes suppress each other, as they do in sophon-stream.
"""

from __future__ import annotations

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
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
"""Of yolov7 and yolov7x; yolov7-tiny has those of YOLOv5."""

FAMILY = anchored_family("YOLOv7", ANCHORS, class_aware=False)


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
    """How the yolov7 element would run the file; ``None`` if it cannot."""
    return suggest_anchored(session, FAMILY, element="yolov7", certainty=0.5)
