"""``yolov5``, ``yolov5_group``: finds objects with a YOLOv5 network. Keys: docs/elements.md."""

from __future__ import annotations

from streamserver.elements._detector import DetectorElement
from streamserver.models.yolov5 import FAMILY


class Yolov5Element(DetectorElement):
    """Only boxes of one class suppress each other."""

    family = "yolov5"
    option_keys = FAMILY.options


ELEMENT = Yolov5Element
