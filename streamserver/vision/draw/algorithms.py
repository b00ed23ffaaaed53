"""The drawings of sophon-stream by their names (``draw_func_name``, CONTRACT 1.3)."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from streamserver.core.arrays import ImageBgr
from streamserver.core.results import WHOLE_FRAME
from streamserver.vision.draw import shapes
from streamserver.vision.draw.findings import Findings
from streamserver.vision.draw.shapes import Style

Drawing = Callable[[ImageBgr, Findings, Style], None]
"""Draws findings into a picture."""


def layers(*drawings: Drawing) -> Drawing:
    """One drawing over the other, and over the whole frame's parts that show all of it."""

    def draw(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
        for one in drawings:
            one(image_bgr, findings, style)
        for part in findings.parts:
            if part.sub_id == WHOLE_FRAME:
                draw(image_bgr, part.findings, style)

    return draw


_CLASSES = layers(shapes.draw_classes)

DRAWINGS: dict[str, Drawing] = {
    "default": layers(),
    "save_only": layers(),
    "draw_bytetrack_results": layers(shapes.draw_tracks),
    "draw_license_plate_recognition_results": layers(shapes.draw_part_texts),
    "draw_openpose_results": layers(shapes.draw_poses),
    "draw_retinaface_results": layers(shapes.draw_faces),
    "draw_retinaface_distributor_resnet_faiss_converger_results": layers(shapes.draw_faces),
    "draw_yolov5_results": _CLASSES,
    "draw_yolov7_results": _CLASSES,
    "draw_yolox_results": _CLASSES,
    "draw_yolov5_bytetrack_distributor_resnet_converger_results": layers(shapes.draw_attributes),
    "draw_yolov5_fastpose_posec3d_results": layers(shapes.draw_classes, shapes.draw_poses, shapes.draw_action),
    "draw_ppocr_results": layers(shapes.draw_corner_texts),
    "draw_yolov8_det_pose": layers(shapes.draw_classes, shapes.draw_poses),
    "draw_yolov8_seg": layers(shapes.draw_segments, shapes.draw_classes),
    "draw_yolov8_obb_results": layers(shapes.draw_turned_boxes),
}

DETECTIONS = layers(
    shapes.draw_segments, shapes.draw_classes, shapes.draw_faces, shapes.draw_texts_below, shapes.draw_action
)
"""All that detectors and recognisers say, each with its name."""

TRACKS = layers(shapes.draw_tracks)
POSES = layers(shapes.draw_poses)
AREAS = layers(shapes.draw_areas)
TURNED_BOXES = layers(shapes.draw_turned_boxes)


def drawing(name: str) -> Drawing:
    """The drawing called ``name``.

    Raises:
        ValueError: there is none; says which is nearest.
    """
    if name not in DRAWINGS:
        near = difflib.get_close_matches(name, DRAWINGS, n=1)
        raise ValueError(f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(DRAWINGS)}")
    return DRAWINGS[name]
