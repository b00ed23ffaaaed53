"""YOLOv5 detectors: https://github.com/ultralytics/yolov5 (and YOLOv5-face with its points).

Boxes of a cell, with s the sigmoid of what the file says: centre = (2 s - 0.5 + cell) * stride, size = (2 s)² * anchor;
score = objectness * class; only boxes of one class suppress each other. Points are raw * anchor + cell * stride.
"""

from __future__ import annotations

from streamserver.core.errors import ModelError
from streamserver.models._yolo_cells import Anchors, Cells
from streamserver.models._yolo_detector import YoloDetector, YoloFamily, class_summary
from streamserver.models._yolo_layout import GridLayout, ListLayout, Scheme
from streamserver.models.detector import Reading
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

ANCHORS: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)

ANCHORS_OF_FOUR_GRIDS: Anchors = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
"""Of the large models of this family and the next (yolov5s6, yolov7-w6)."""

FAMILY = YoloFamily(
    scheme=Scheme("YOLOv5", ((3, ANCHORS), (4, ANCHORS_OF_FOUR_GRIDS))),
    box_rule=Cells.boxes_by_anchor,
    boxes_activated=True,
    class_aware=True,
    drops_whole=False,
    usual=Normalisation.from_mean_std(mean=0, std=255, rgb=True),
    anchor="center",
    options=("anchors", "corners", "one_class", "pad", "enlarge"),
)

_CORNERS = 4


def load(session: Session, reading: Reading) -> YoloDetector:
    """The detector of a file; see ``YoloDetector``."""
    return YoloDetector(session, FAMILY, reading)


def suggest(session: Session) -> Suggestion | None:
    """How the yolov5 element would run the file; ``None`` if it cannot."""
    return suggest_anchored(session, FAMILY, element="yolov5", certainty=0.6, of_lists=0.3)


def suggest_anchored(
    session: Session, family: YoloFamily, *, element: str, certainty: float, of_lists: float
) -> Suggestion | None:
    """How an element would run the file as one of a family with anchors; ``None`` if it cannot.

    Args:
        session: the loaded file.
        family: the element's.
        element: its name.
        certainty: of a file with grids.
        of_lists: of a file that holds the suppression, which says less of where it comes from.
    """
    try:
        detector = YoloDetector(session, family)
    except ModelError:
        return None
    notes = [class_summary(detector)]
    if isinstance(detector.outputs, GridLayout) and len(detector.outputs.views) > 1:
        notes.append(f"with the anchors of {family.scheme.label}; a file with others needs 'anchors'")
        rest = detector.class_count - 2 * _CORNERS
        if rest > 0:
            notes.append(f"with 'corners': {_CORNERS} the same numbers are four corner points and {rest} classes")
    return Suggestion(
        element=element,
        layout=detector.layout,
        configure={"threshold_conf": 0.5, "threshold_nms": 0.5, "bgr2rgb": True, "mean": [0] * 3, "std": [255] * 3},
        notes=tuple(notes),
        certainty=of_lists if isinstance(detector.outputs, ListLayout) else certainty,
    )
