"""YOLOX detectors, in the forms in which they are exported (Megvii YOLOX, https://github.com/Megvii-BaseDetection/YOLOX).

Boxes of a cell: centre = (offset + cell) * stride, size = exp(size) * stride; score = objectness * class; boxes of all
classes suppress each other. The official export takes pixels as they are, blue first, letterboxed to the top left.
"""

from __future__ import annotations

from streamserver.core.errors import ModelError
from streamserver.models._yolo_cells import Cells
from streamserver.models._yolo_detector import YoloDetector, YoloFamily, class_summary
from streamserver.models._yolo_layout import GridLayout, Scheme
from streamserver.models.detector import Reading
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

FAMILY = YoloFamily(
    scheme=Scheme("YOLOX", ((3, None), (4, None)), flat_is_decoded=False),
    box_rule=Cells.boxes_by_exp,
    boxes_activated=False,
    class_aware=False,
    drops_whole=True,
    usual=Normalisation(),
    anchor="top_left",
    options=("pad", "enlarge"),
)

_COCO_CLASSES = 80


def load(session: Session, reading: Reading) -> YoloDetector:
    """The detector of a file; see ``YoloDetector``."""
    return YoloDetector(session, FAMILY, reading)


def suggest(session: Session) -> Suggestion | None:
    """How the yolox element would run the file; ``None`` if it cannot."""
    try:
        detector = load(session, Reading())
    except ModelError:
        return None
    return Suggestion(
        element="yolox",
        layout=detector.layout,
        configure={"threshold_conf": 0.5, "threshold_nms": 0.5},
        notes=(class_summary(detector), "without 'mean' and 'std' it gets pixels from 0 to 255, blue first"),
        certainty=_certainty(detector),
    )


def _certainty(detector: YoloDetector) -> float:
    """One output of boxes that are not decoded is what only YOLOX gives; YOLOv8 has a class more in the same shape."""
    outputs = detector.outputs
    if not isinstance(outputs, GridLayout):
        return 0.2
    if len(outputs.views) > 1:
        return 0.3
    decoded, turned = outputs.unit_wh is not None, outputs.turned
    if not decoded:
        return 0.6 if turned else 0.9
    if turned or detector.class_count == _COCO_CLASSES - 1:
        return 0.2
    return 0.9 if detector.class_count == _COCO_CLASSES else 0.6
