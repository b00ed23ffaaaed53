"""Moving things in the pictures of one camera that stands still: background subtraction, no weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr

Mask = npt.NDArray[np.uint8]
"""Shape (height, width): 255 where something moves, else 0."""

_MOVING = 255
"""What the subtractor writes for moving pixels; shadows get 127."""

_VARIANCE_THRESHOLD = 50.0
_BACKGROUND_RATIO = 0.8
"""With a history of 200 frames, what has stood still for about 45 frames becomes background."""

_SHADOW_DARKNESS = 0.5
"""A pixel keeps at least this share of its brightness in a shadow."""

_GAIN_RATE = 0.02
"""How fast the brightness that pictures are adjusted to follows the camera's."""

_GAIN_STEP = 0.004
"""A smaller change of brightness is below one grey level and left alone."""

_LEVELS = np.arange(256)[:, None]
_MIN_STILL_SHARE = 0.2
_FLOOD_SHARE = 0.6
_FLOOD_FRAMES = 3
_MAX_PARTS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionOptions:
    """How sensitive the detector is; the defaults were chosen on clips of people and cars.

    Attributes:
        min_area: smallest moving area; a share of the picture below 1, else pixels of the picture.
        history_frames: about how many frames the background remembers.
        warmup_frames: frames at the start, and after a change of the whole scene, in which nothing is reported.
        gap_xy: parts that lie closer, side by side or one above the other, become one box; shares of the long side.
            People stand side by side, but one person falls apart into head, body and legs.
        long_side: pixels of the longer side while searching.
    """

    min_area: float = 0.001
    history_frames: int = 200
    warmup_frames: int = 15
    gap_xy: tuple[float, float] = (0.004, 0.02)
    long_side: int = 480


class MotionDetector:
    """Finds what moves. Feeds on every picture of one camera, in order; the same pictures give the same boxes.

    A camera that adjusts its exposure does not disturb it: pictures are brought to one brightness, judged by what does
    not move. When more than 60 % of a picture changes at once (a light is switched, the camera is turned), nothing is
    reported; when that lasts for 3 pictures, the background is learned anew.
    """

    def __init__(self, options: MotionOptions | None = None) -> None:
        self.options = options or MotionOptions()
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        self._start((0, 0))

    def update(self, image_bgr: ImageBgr) -> FloatArray:
        """Takes the next picture, of shape (height, width, 3).

        Returns:
            Boxes (n, 4) of what moves, in pixels of the picture, largest first.
        """
        height, width = image_bgr.shape[:2]
        scale = min(1.0, self.options.long_side / max(height, width))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size_wh != self._size_wh:
            self._start(size_wh)
        moving = self._moving(_shrink(image_bgr, size_wh))
        if self._flooded(moving) or self._seen <= self.options.warmup_frames:
            return np.zeros((0, 4), dtype=np.float32)
        full_per_small = np.array([width / size_wh[0], height / size_wh[1]] * 2, dtype=np.float32)
        return self._boxes(moving, full_pixels=width * height) * full_per_small

    def _start(self, size_wh: tuple[int, int]) -> None:
        """Forgets everything; pictures of this size follow."""
        self._size_wh = size_wh
        self._seen = 0
        self._flood = 0
        self._still: Mask | None = None
        self._brightness: npt.NDArray[np.float64] | None = None
        self._subtractor = cv2.createBackgroundSubtractorMOG2(
            history=self.options.history_frames, varThreshold=_VARIANCE_THRESHOLD, detectShadows=True
        )
        self._subtractor.setShadowThreshold(_SHADOW_DARKNESS)
        self._subtractor.setBackgroundRatio(_BACKGROUND_RATIO)

    def _moving(self, small_bgr: ImageBgr) -> Mask:
        """What moves in a picture of the small size, specks removed and gaps closed; learns the picture."""
        mask = self._subtractor.apply(self._with_steady_gain(small_bgr))
        self._seen += 1
        _, mask = cv2.threshold(mask, _MOVING - 1, _MOVING, cv2.THRESH_BINARY)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._kernel)
        moving = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._kernel, iterations=2), dtype=np.uint8)
        still = np.asarray(cv2.bitwise_not(moving), dtype=np.uint8)
        self._still = still if cv2.countNonZero(still) > _MIN_STILL_SHARE * still.size else None
        return moving

    def _with_steady_gain(self, small_bgr: ImageBgr) -> ImageBgr:
        """The picture, each channel scaled so that what stood still in the last one keeps its brightness."""
        now = np.maximum(cv2.mean(small_bgr, self._still)[:3], 1.0)
        if self._brightness is None:
            self._brightness = now
        gain = self._brightness / now
        self._brightness = self._brightness * (1 - _GAIN_RATE) + now * _GAIN_RATE
        if np.all(np.abs(gain - 1) <= _GAIN_STEP):
            return small_bgr
        table = np.clip(_LEVELS * gain + 0.5, 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(small_bgr, table[None]), dtype=np.uint8)

    def _flooded(self, moving: Mask) -> bool:
        """True when too much moves to be things; starts over when that lasts."""
        if self._seen == 1 or cv2.countNonZero(moving) <= _FLOOD_SHARE * moving.size:
            self._flood = 0
            return False
        self._flood += 1
        if self._flood >= _FLOOD_FRAMES:
            self._start(self._size_wh)
        return True

    def _boxes(self, moving: Mask, *, full_pixels: int) -> FloatArray:
        """Boxes (n, 4) of the connected parts, near ones joined, in pixels of the mask, largest area first."""
        options = self.options
        share = options.min_area if options.min_area < 1 else options.min_area / full_pixels
        boxes, areas = _parts(moving)
        gap_xy = np.array(options.gap_xy, dtype=np.float32) * max(self._size_wh)
        boxes, areas = _join_near(boxes, areas, gap_xy)
        large = areas >= share * moving.size
        return boxes[large][np.argsort(-areas[large], kind="stable")]


def _shrink(image_bgr: ImageBgr, size_wh: tuple[int, int]) -> ImageBgr:
    """Averages pixels where several become one, which keeps noise down; else the quick way."""
    method = cv2.INTER_AREA if image_bgr.shape[1] > 2 * size_wh[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=method), dtype=np.uint8)


def _parts(moving: Mask) -> tuple[FloatArray, FloatArray]:
    """Boxes (n, 4) and areas (n,) of the mask's connected parts, the largest ``_MAX_PARTS`` of them."""
    contours, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    areas = np.array([cv2.contourArea(contour) for contour in contours], dtype=np.float32)
    order = np.argsort(-areas, kind="stable")[:_MAX_PARTS]
    boxes = np.array([cv2.boundingRect(contours[row]) for row in order], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, areas[order]


def _join_near(boxes_xyxy: FloatArray, areas: FloatArray, gap_xy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Joins boxes (n, 4) that overlap or lie within the gap, until none do; their areas (n,) add up."""
    while len(boxes_xyxy) > 1:
        names, groups = np.unique(_groups(boxes_xyxy, gap_xy), return_inverse=True)
        if len(names) == len(boxes_xyxy):
            break
        joined = np.empty((len(names), 4), dtype=np.float32)
        joined[:, :2], joined[:, 2:] = np.inf, -np.inf
        np.minimum.at(joined[:, :2], groups, boxes_xyxy[:, :2])
        np.maximum.at(joined[:, 2:], groups, boxes_xyxy[:, 2:])
        boxes_xyxy, areas = joined, np.bincount(groups, weights=areas).astype(np.float32)
    return boxes_xyxy, areas


def _groups(boxes_xyxy: FloatArray, gap_xy: FloatArray) -> npt.NDArray[np.int64]:
    """A number (n,) for each box, the same for boxes within the gap of each other, also by way of others."""
    near = np.all(boxes_xyxy[:, None, :2] - gap_xy <= boxes_xyxy[None, :, 2:], axis=2)
    near &= near.T
    names = np.arange(len(boxes_xyxy))
    while True:
        spread = np.where(near, names, len(names)).min(axis=1)
        if np.array_equal(spread, names):
            return names
        names = spread
