"""Draws where things count: zones, lines and the way across them; and a word about the stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import ImageBgr
from streamserver.vision.draw.findings import Findings
from streamserver.vision.draw.palette import BLACK, WHITE, color_of
from streamserver.vision.draw.shapes import Style, draw_box, name_of, text_size_px
from streamserver.vision.text import ColorBgr, TextWriter

ZONE_COLOR: ColorBgr = (0, 215, 255)
EXCLUDED_COLOR: ColorBgr = (128, 128, 128)
LINE_COLOR: ColorBgr = (255, 0, 255)
BANNER_COLOR: ColorBgr = (0, 0, 160)

_OPACITY = 0.2
_THICKNESS_PX = 2
_FARTHEST_PX = 30_000
_ARROW_SHARE = 0.12
"""Length of an arrow, as a share of the picture's shorter side."""

PlacePoints = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where objects count.

    Attributes:
        points_xy: (k, 2) in pixels of the full picture: 1 a point, 2 a line, more the corners of a zone in turn.
        direction_xy: the way that counts; (0, 0) for any.
        is_line: the points are those of a line with corners, not of a zone.
        is_excluded: what is in this zone does not count.
    """

    points_xy: PlacePoints
    direction_xy: tuple[float, float] = (0.0, 0.0)
    is_line: bool = False
    is_excluded: bool = False

    @property
    def is_zone(self) -> bool:
        """Whether it has an inside."""
        return len(self.points_xy) > 2 and not self.is_line


def draw_place(image_bgr: ImageBgr, place: Place, factor: float) -> None:
    """A zone tinted and outlined, grey if excluded, a line with an arrow that shows its direction, a point as a dot.

    Args:
        image_bgr: is drawn into.
        place: in pixels of the full picture; without points it is the whole picture, and nothing is drawn.
        factor: how much smaller than the full picture ``image_bgr`` is.
    """
    pixels = _pixels(place.points_xy * factor)
    zone_color = EXCLUDED_COLOR if place.is_excluded else ZONE_COLOR
    if place.is_zone:
        _tint(image_bgr, pixels, zone_color)
        cv2.polylines(image_bgr, [pixels], True, zone_color, _THICKNESS_PX)
    elif len(pixels) >= 2:
        cv2.polylines(image_bgr, [pixels], False, LINE_COLOR, _THICKNESS_PX)
    elif len(pixels) == 1:
        cv2.circle(image_bgr, pixels[0].tolist(), 2 * _THICKNESS_PX, LINE_COLOR, cv2.FILLED)
    if len(pixels):
        _draw_arrow(image_bgr, place, factor, zone_color if place.is_zone else LINE_COLOR)


def arrow_of(place: Place, *, factor: float, size_wh: tuple[int, int]) -> tuple[PlacePoints, PlacePoints] | None:
    """Tail and tip of a place's arrow, (2,) each, from its middle on; ``None`` where any direction counts.

    The middle of a line with corners is that of its middle part.
    """
    length = math.hypot(*place.direction_xy)
    if length == 0 or not len(place.points_xy):
        return None
    first = (len(place.points_xy) - 1) // 2 if place.is_line else 0
    middle = place.points_xy[first : first + 2] if place.is_line else place.points_xy
    tail = middle.mean(axis=0) * factor
    return tail, tail + np.array(place.direction_xy) / length * (_ARROW_SHARE * min(size_wh))


def draw_objects(image_bgr: ImageBgr, findings: Findings, style: Style) -> None:
    """Every object with its class, its score and, where a tracker has numbered it, its number."""
    found = findings.detections
    for box_xyxy, score, class_id, track_id in zip(
        found.boxes_xyxy, found.scores, found.class_ids.tolist(), found.track_ids.tolist(), strict=True
    ):
        number = f" #{track_id}" if track_id > 0 else ""
        text = f"{name_of(style.class_names, class_id)}:{float(score):.2f}{number}"
        draw_box(image_bgr, box_xyxy.tolist(), text, color_of(class_id), style)


def draw_banner(image_bgr: ImageBgr, text: str, writer: TextWriter) -> None:
    """A bar along the picture's upper edge that says what is wrong with the stream, cut where the picture ends."""
    size_px = text_size_px(image_bgr)
    height = min(2 * size_px, image_bgr.shape[0])
    image_bgr[:height] = BANNER_COLOR
    cv2.line(image_bgr, (0, height - 1), (image_bgr.shape[1], height - 1), BLACK, 1)
    writer.put(image_bgr, text, (size_px // 2, size_px // 2), size_px=size_px, color_bgr=WHITE)


def _tint(image_bgr: ImageBgr, pixels: npt.NDArray[np.int32], color_bgr: ColorBgr) -> None:
    """Mixes the zone's colour into its inside; works on the zone's surroundings alone."""
    height, width = image_bgr.shape[:2]
    left, top = np.clip(pixels.min(axis=0), 0, (width, height)).tolist()
    right, bottom = np.clip(pixels.max(axis=0) + 1, 0, (width, height)).tolist()
    if left >= right or top >= bottom:
        return
    part = image_bgr[top:bottom, left:right]
    tinted = part.copy()
    cv2.fillPoly(tinted, [pixels], color_bgr, offset=(-left, -top))
    part[:] = cv2.addWeighted(tinted, _OPACITY, part, 1 - _OPACITY, 0)


def _draw_arrow(image_bgr: ImageBgr, place: Place, factor: float, color_bgr: ColorBgr) -> None:
    arrow = arrow_of(place, factor=factor, size_wh=(image_bgr.shape[1], image_bgr.shape[0]))
    if arrow is not None:
        tail, tip = (_pixels(point).tolist() for point in arrow)
        cv2.arrowedLine(image_bgr, tail, tip, color_bgr, _THICKNESS_PX, tipLength=0.35)


def _pixels(points_xy: PlacePoints) -> npt.NDArray[np.int32]:
    """Points as whole pixels; what is too far away is brought near."""
    return np.clip(np.rint(points_xy), -_FARTHEST_PX, _FARTHEST_PX).astype(np.int32)
