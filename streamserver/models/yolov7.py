"""YOLOv7 detectors: https://github.com/WongKinYiu/yolov7.

As YOLOv5, but for other anchors, and boxes of all classes suppress each other, as they do in sophon-stream.
"""

from __future__ import annotations

import dataclasses

from streamserver.models._yolo_cells import Anchors
from streamserver.models._yolo_detector import YoloDetector
from streamserver.models._yolo_layout import Scheme
from streamserver.models.detector import Reading
from streamserver.models.suggestion import Suggestion
from streamserver.models.yolov5 import ANCHORS_OF_FOUR_GRIDS, suggest_anchored
from streamserver.models.yolov5 import FAMILY as YOLOV5
from streamserver.runtime.session import Session

ANCHORS: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
"""Of yolov7 and yolov7x; yolov7-tiny has those of YOLOv5."""

FAMILY = dataclasses.replace(
    YOLOV5, scheme=Scheme("YOLOv7", ((3, ANCHORS), (4, ANCHORS_OF_FOUR_GRIDS))), class_aware=False
)


def load(session: Session, reading: Reading) -> YoloDetector:
    """The detector of a file; see ``YoloDetector``."""
    return YoloDetector(session, FAMILY, reading)


def suggest(session: Session) -> Suggestion | None:
    """How the yolov7 element would run the file; ``None`` if it cannot."""
    return suggest_anchored(session, FAMILY, element="yolov7", certainty=0.5, of_lists=0.45)
