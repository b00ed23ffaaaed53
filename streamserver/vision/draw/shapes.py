"""Draws one kind of finding each: boxes, masks, poses, faces, turned boxes, areas, the texts of parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox
from streamserver.core.results import WHOLE_FRAME
from streamserver.vision.draw.findings import Findings, Part
from streamserver.vision.draw.palette import BLUE, GREEN, color_of, on_top_of, skeleton_of
from streamserver.vision.text import ColorBgr, TextWriter

_THICKNESS_PX = 2
_AREA_THICKNESS_PX = 3
_JOINT_RADIUS_PX = 3
_MASK_OPACITY = 0.45
_FARTHEST_PX = 30_000
"""OpenCV draws in 16 bits and a fraction; farther points are nobody's to see."""

_SURE_OF_A_JOINT = {17: 0.5}
"""Least score of a joint, by their number: openpose gives 0 to joints it did not find, yolov8 gives every joint one."""

_SURE_OF_A_HEATMAP = {"MSELoss": 0.4}
_SURE_OF_A_COORDINATE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How things are drawn.

    Attributes:
        class_names: by class number; numbers beyond are written as numbers.
        recognised_names: names of what a classifier says of parts.
        car_attributes, person_attributes: the same, of cars and of people.
        put_text: whether boxes get a label.
        heatmap_loss: how fastpose was trained, which decides from which score on a joint counts.
        area_color: of areas.
        writer: what writes.
    """

    class_names: Sequence[str] = ()
    recognised_names: Sequence[str] = ()
    car_attributes: Sequence[str] = ()
    person_attributes: Sequence[str] = ()
    put_text: bool = True
    heatmap_loss: str = "MSELoss"
    area_color: ColorBgr = BLUE
    writer: TextWriter = field(default_factory=TextWriter)


def name_of(names: Sequence[str], number: int) -> str:
    """The name of a class, or its number where the names do not reach."""
    return names[number] if 0 <= number < len(names) and names[number] else str(number)


def text_size_px(image_bgr: ImageBgr) -> int:
    """The height of letters that can be read in a picture of this size."""
    return min(36, max(11, int(image_bgr.shape[0]) // 36))


def draw_label(
    image_bgr: ImageBgr, text: str, left_top_xy: tuple[int, int], *, color_bgr: ColorBgr, writer: TextWriter
) -> None:
    """Writes ``text`` on a plate of ``color_bgr`` above a box's corner, or in the box where there is no room above."""
    if not text:
        return
    size_px = text_size_px(image_bgr)
    width, height = writer.size_wh(text, size_px)
    left = max(0, min(left_top_xy[0], image_bgr.shape[1] - width - 4))
    top = left_top_xy[1] - height - 4
    if top < 0:
        top = max(0, left_top_xy[1])
    cv2.rectangle(image_bgr, (left, top), (left + width + 3, top + height + 3), color_bgr, cv2.FILLED)
    writer.put(image_bgr, text, (left + 2, top + 2), size_px=size_px, color_bgr=on_top_of(color_bgr))


def draw_box(image_bgr: ImageBgr, box_xyxy: Sequence[float], text: str, color_bgr: ColorBgr, style: Style) -> None:
    """A rectangle on the outermost pixels of a box, and its label."""
    left, top, right, bottom = (_px(value) for value in box_xyxy)
    cv2.rectangle(image_bgr, (left, top), (max(left, right - 1), max(top, bottom - 1)), color_bgr, _THICKNESS_PX)
    if style.put_text:
        draw_label(image_bgr, text, (left, top), color_bgr=color_bgr, writer=style.writer)


def draw_classes(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Every object with its class and its score, in a colour of the class."""
    found = findings.detections
    for box_xyxy, score, class_id in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True):
        text = f"{name_of(style.class_names, int(class_id))}:{float(score):.2f}"
        draw_box(image_bgr, box_xyxy.tolist(), text, color_of(int(class_id)), style)


def draw_tracks(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Every object with its number, in a colour of the number; those that no tracker has numbered get no label."""
    found = findings.detections
    for box_xyxy, track_id in zip(found.boxes_xyxy, found.track_ids.tolist(), strict=True):
        draw_box(image_bgr, box_xyxy.tolist(), str(track_id) if track_id > 0 else "", color_of(track_id), style)


def draw_segments(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """The pixels of each object, tinted in the colour of its class."""
    class_ids = findings.detections.class_ids.tolist()
    for row, segment in enumerate(findings.segments):
        _tint(image_bgr, segment, color_of(class_ids[row] if row < len(class_ids) else row))


def draw_poses(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Joints and the bones between them."""
    for pose in findings.poses:
        _draw_pose(image_bgr, pose, style.heatmap_loss)


def draw_faces(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Each face with its five points and the name that somebody gave to its part."""
    names = {part.sub_id: text_of(part, style) for part in findings.parts if part.track_id <= 0}
    for row, face in enumerate(findings.faces):
        _draw_face(image_bgr, face, names.get(row, ""), style)


def draw_turned_boxes(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Every turned box with its class and its score."""
    for box in findings.turned_boxes:
        _draw_turned_box(image_bgr, box, style)


def draw_areas(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """The lines and outlines that objects of this frame have touched."""
    for points_xy in findings.touched_areas:
        if len(points_xy) >= 2:
            closed = len(points_xy) > 2
            cv2.polylines(image_bgr, [_pixels(points_xy)], closed, style.area_color, _AREA_THICKNESS_PX)


def draw_part_texts(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """What was read in parts of the frame, such as number plates, each with the box of its part."""
    for part in findings.parts:
        box_xyxy, text = findings.box_of(part), text_of(part, style)
        if box_xyxy is not None and text:
            draw_box(image_bgr, box_xyxy, text, color_of(0), style)


def draw_texts_below(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """What was said of objects, below their boxes: above them stand their classes."""
    if not style.put_text:
        return
    below_px = style.writer.size_wh("0", text_size_px(image_bgr))[1] + 6
    for row, part in _rows_of(findings):
        left, _, _, bottom = (_px(value) for value in findings.detections.boxes_xyxy[row].tolist())
        draw_label(
            image_bgr, text_of(part, style), (left, bottom + below_px), color_bgr=color_of(0), writer=style.writer
        )


def draw_corner_texts(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """What was read in parts of the frame, at the part's outline (lines of text need not be level)."""
    corners_xy = findings.detections.corners_xy
    for row, part in _rows_of(findings):
        points = findings.detections.boxes_xyxy[row].reshape(2, 2) if corners_xy is None else corners_xy[row]
        if corners_xy is not None:
            cv2.polylines(image_bgr, [_pixels(points)], True, GREEN, 1)
        left, top = (int(value) for value in _pixels(points).min(axis=0))
        draw_label(image_bgr, text_of(part, style), (left, top), color_bgr=GREEN, writer=style.writer)


def draw_attributes(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Every object that a classifier has looked at, with its number and what the classifier says."""
    for row, part in _rows_of(findings):
        track_id = int(findings.detections.track_ids[row])
        person = int(findings.detections.class_ids[row]) == 0
        names = style.person_attributes if person else style.car_attributes
        text = f"{track_id}-{text_of(part, style, names)}"
        draw_box(image_bgr, findings.detections.boxes_xyxy[row].tolist(), text, color_of(track_id), style)


def draw_action(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """What a whole frame was recognised as, in its corner."""
    for recognition in findings.recognitions[:1]:
        score = f":{recognition.scores[0]:.2f}" if recognition.scores else ""
        text = _said(recognition, style.recognised_names)
        if text:
            draw_label(image_bgr, text + score, (8, 8), color_bgr=color_of(0), writer=style.writer)


def text_of(part: Part, style: Style, names: Sequence[str] = ()) -> str:
    """What was said of a part: a text or the name of a class; empty when nothing was."""
    return " ".join(filter(None, (_said(one, names or style.recognised_names) for one in part.findings.recognitions)))


def _said(recognition: Recognition, names: Sequence[str]) -> str:
    """The text that was read, or the name of the class that comes first."""
    return recognition.label or " ".join(name_of(names, number) for number in recognition.class_ids[:1])


def _rows_of(findings: Findings) -> Iterator[tuple[int, Part]]:
    """The parts about which something was said, with the rows they were cut from."""
    for part in findings.parts:
        row = findings.row_of(part)
        if part.sub_id != WHOLE_FRAME and row >= 0 and part.findings.recognitions:
            yield row, part


def _draw_face(image_bgr: ImageBgr, face: Face, name: str, style: Style) -> None:
    draw_box(image_bgr, face.box_xyxy, name, BLUE, style)
    for x, y in _pixels(face.points_xy).tolist():
        cv2.circle(image_bgr, (x, y), 2, GREEN, cv2.FILLED)


def _draw_turned_box(image_bgr: ImageBgr, box: TurnedBox, style: Style) -> None:
    color_bgr = color_of(box.class_id)
    corners = _pixels(box.corners_xy())
    cv2.polylines(image_bgr, [corners], True, color_bgr, _THICKNESS_PX)
    if style.put_text:
        text = f"{name_of(style.class_names, box.class_id)}:{box.score:.2f}"
        left, top = (int(value) for value in corners[int(corners[:, 1].argmin())])
        draw_label(image_bgr, text, (left, top), color_bgr=color_bgr, writer=style.writer)


def _draw_pose(image_bgr: ImageBgr, pose: Pose, heatmap_loss: str) -> None:
    seen = _visible(pose, heatmap_loss)
    points = _pixels(pose.keypoints[:, :2])
    for number, (a, b) in enumerate(skeleton_of(len(points))):
        if seen[a] and seen[b]:
            cv2.line(image_bgr, points[a].tolist(), points[b].tolist(), color_of(number), _THICKNESS_PX)
    for x, y in points[seen].tolist():
        cv2.circle(image_bgr, (x, y), _JOINT_RADIUS_PX, GREEN, cv2.FILLED)


def _visible(pose: Pose, heatmap_loss: str) -> npt.NDArray[np.bool_]:
    """Which joints were found, shape (k,)."""
    present = np.any(pose.keypoints[:, :2] != 0, axis=1)
    if pose.keypoints.shape[1] > 2:
        scores, least = pose.keypoints[:, 2], _SURE_OF_A_JOINT.get(len(pose.keypoints), 0.0)
    elif pose.scores is not None and len(pose.scores) == len(pose.keypoints):
        scores, least = pose.scores, _SURE_OF_A_HEATMAP.get(heatmap_loss, _SURE_OF_A_COORDINATE)
    else:
        return np.asarray(present, dtype=np.bool_)
    return np.asarray(present & (scores > least), dtype=np.bool_)


def _tint(image_bgr: ImageBgr, segment: Segment, color_bgr: ColorBgr) -> None:
    left, top = segment.left_top_xy
    x1, y1 = max(left, 0), max(top, 0)
    x2 = min(left + segment.mask.shape[1], image_bgr.shape[1])
    y2 = min(top + segment.mask.shape[0], image_bgr.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    part = image_bgr[y1:y2, x1:x2]
    mask = segment.mask[y1 - top : y2 - top, x1 - left : x2 - left]
    tinted = part[mask] * (1 - _MASK_OPACITY) + np.array(color_bgr) * _MASK_OPACITY
    part[mask] = tinted.astype(np.uint8)


def _pixels(points_xy: FloatArray) -> npt.NDArray[np.int32]:
    """Points as whole pixels, shape (n, 2); what is no number or too far away is brought near."""
    near = np.nan_to_num(points_xy.astype(np.float64), nan=0.0, posinf=_FARTHEST_PX, neginf=-_FARTHEST_PX)
    return np.clip(np.rint(near), -_FARTHEST_PX, _FARTHEST_PX).astype(np.int32)


def _px(value: float) -> int:
    return round(min(max(value, -_FARTHEST_PX), _FARTHEST_PX)) if math.isfinite(value) else 0
