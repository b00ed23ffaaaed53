"""Pictures made smaller together with what was found in them, so that lines and letters stay sharp."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.objects import Face, Pose, Segment, TurnedBox
from streamserver.vision.draw.findings import Findings, Part


def scale_for(size_wh: tuple[int, int], width: int) -> float:
    """What a picture's sides are multiplied by so that it is at most ``width`` pixels wide; at most 1."""
    return min(1.0, width / size_wh[0])


def scaled_image(image_bgr: ImageBgr, factor: float) -> ImageBgr:
    """A new picture with both sides ``factor`` times as long, at least 1 pixel each; a copy for a factor of 1."""
    if factor == 1.0:
        return np.array(image_bgr, order="C")
    height, width = image_bgr.shape[:2]
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def scaled_findings(findings: Findings, factor: float) -> Findings:
    """The same findings in pixels of a picture that is ``factor`` times as large."""
    if factor == 1.0:
        return findings
    return replace(
        findings,
        detections=_detections(findings.detections, factor),
        poses=[_pose(pose, factor) for pose in findings.poses],
        faces=[_face(face, factor) for face in findings.faces],
        turned_boxes=[_turned_box(box, factor) for box in findings.turned_boxes],
        segments=[_segment(segment, factor) for segment in findings.segments],
        touched_areas=[_points(area, factor) for area in findings.touched_areas],
        parts=[Part(part.sub_id, part.track_id, scaled_findings(part.findings, factor)) for part in findings.parts],
    )


def _points(points: FloatArray, factor: float) -> FloatArray:
    return (points * factor).astype(np.float32)


def _detections(found: Detections, factor: float) -> Detections:
    corners = None if found.corners_xy is None else _points(found.corners_xy, factor)
    return replace(found, boxes_xyxy=_points(found.boxes_xyxy, factor), corners_xy=corners)


def _pose(pose: Pose, factor: float) -> Pose:
    keypoints = pose.keypoints.copy()
    keypoints[:, :2] *= factor
    return replace(pose, keypoints=keypoints)


def _face(face: Face, factor: float) -> Face:
    left, top, right, bottom = (value * factor for value in face.box_xyxy)
    return replace(face, box_xyxy=(left, top, right, bottom), points_xy=_points(face.points_xy, factor))


def _turned_box(box: TurnedBox, factor: float) -> TurnedBox:
    (x, y), (width, height) = box.center_xy, box.size_wh
    return replace(box, center_xy=(x * factor, y * factor), size_wh=(width * factor, height * factor))


def _segment(segment: Segment, factor: float) -> Segment:
    height, width = segment.mask.shape
    left, top = segment.left_top_xy
    if not height or not width:
        return segment
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    mask = cv2.resize(segment.mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    return Segment((round(left * factor), round(top * factor)), np.asarray(mask, dtype=np.bool_))
