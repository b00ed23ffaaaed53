"""``yolov7``, ``yolov7_group``: finds objects with a YOLOv7 network. Keys: docs/elements.md."""

from __future__ import annotations

from streamserver.elements._detector import DetectorElement
from streamserver.models.yolov7 import FAMILY


class Yolov7Element(DetectorElement):
    """Boxes of all classes suppress each other."""

    family = "yolov7"
    option_keys = FAMILY.options


ELEMENT = Yolov7Element
