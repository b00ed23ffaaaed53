"""What YOLOv5 and YOLOv7 have in common: grids with anchors, and everything that is said of a file beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamserver.core.errors import ModelError
from streamserver.models._yolo_cells import Anchors, Cells
from streamserver.models._yolo_detector import YoloDetector, YoloFamily, class_summary
from streamserver.models._yolo_layout import ListLayout, Scheme
from streamserver.models._yolo_options import YoloOptions
from streamserver.models.letterboxed import LetterboxedNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

OPTIONS = ("anchors", "corners", "one_class", "pad", "enlarge")
"""Keys of ``options``; see ``YoloOptions``."""

USUAL_INPUT = Normalisation.from_mean_std(mean=0, std=255, rgb=True)
"""What the official exports take: red first, 0 to 1."""

ANCHORS_OF_FOUR_GRIDS: Anchors = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
"""Of the large models of both families (yolov5s6, yolov7-w6)."""

_CORNERS = 4


def anchored_family(label: str, anchors: Anchors, *, class_aware: bool) -> YoloFamily:
    """A family whose files with three grids have ``anchors``."""
    return YoloFamily(
        scheme=Scheme(label, ((3, anchors), (4, ANCHORS_OF_FOUR_GRIDS))),
        box_rule=Cells.boxes_by_anchor,
        boxes_activated=True,
        class_aware=class_aware,
    )


def detector_of(
    session: Session,
    family: YoloFamily,
    *,
    normalisation: Normalisation | None = None,
    classes: tuple[int, ...] | None = None,
    options: YoloOptions | None = None,
) -> YoloDetector:
    """A detector of a family, with what a person said of the file; raises ``ModelError`` for a file of another one."""
    chosen = options or YoloOptions()
    network = LetterboxedNetwork(
        session, normalisation=normalisation or USUAL_INPUT, pad=chosen.pad, anchor="center", enlarge=chosen.enlarge
    )
    scheme = dataclasses.replace(family.scheme, points=chosen.corners)
    if chosen.anchors is not None:
        scheme = dataclasses.replace(scheme, anchor_sets=((len(chosen.anchors), chosen.anchors),))
    detector = YoloDetector(
        network, dataclasses.replace(family, scheme=scheme), classes=classes, one_class=chosen.one_class
    )
    if chosen.corners and isinstance(detector.layout, ListLayout):
        raise ModelError(f"'{session.name}' gives a list of boxes without corners, but 'corners' is {chosen.corners}")
    return detector


def load_anchored(
    path: Path,
    family: YoloFamily,
    *,
    device: str,
    threads: int,
    normalisation: Normalisation | None,
    classes: tuple[int, ...] | None,
    options: Mapping[str, Any] | None,
) -> YoloDetector:
    """Opens an ONNX file of a family; see ``load_detector`` for the arguments."""
    try:
        chosen = YoloOptions.from_mapping(options or {}, known=OPTIONS)
    except ValueError as e:
        raise ModelError(f"'{path.name}': options: {e}") from e
    session = open_session(path, device=device, threads=threads)
    return detector_of(session, family, normalisation=normalisation, classes=classes, options=chosen)


def suggest_anchored(session: Session, family: YoloFamily, *, element: str, certainty: float) -> Suggestion | None:
    """How an element of the family would run the file; ``None`` if it cannot."""
    try:
        detector = detector_of(session, family)
    except ModelError:
        return None
    notes = [class_summary(detector)]
    heads = "heads" in detector.layout.words
    if heads:
        notes.append(f"with the anchors of {family.scheme.label}; a file with others needs 'anchors'")
    if heads and detector.class_count > 2 * _CORNERS:
        rest = detector.class_count - 2 * _CORNERS
        notes.append(f"with 'corners': {_CORNERS} the same numbers are four corner points and {rest} classes")
    return Suggestion(
        element=element,
        layout=detector.layout.words,
        configure={"threshold_conf": 0.5, "threshold_nms": 0.5, "bgr2rgb": True, "mean": [0] * 3, "std": [255] * 3},
        notes=tuple(notes),
        certainty=certainty / 2 if isinstance(detector.layout, ListLayout) else certainty,
    )
