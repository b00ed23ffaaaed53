"""PP-OCR text detection (DB, Liao et al. 2019, arXiv 1911.08947): finds lines of text and their four corners."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.models.detector import Found, Reading
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

USUAL = Normalisation.from_mean_std(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], rgb=False)
"""What PP-OCR's own networks were trained with: these numbers in this order, on channels that come blue first."""

_GRID = 32
"""Sides of the input must be multiples of this."""

_LEAST_SIDE, _LEAST_GROWN_SIDE = 3.0, 5.0
"""In pixels of the map: spots whose shorter side is below the first before growing, or the second after it, go."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DbOptions:
    """How the network's map becomes boxes; the names are keys of the element.

    Attributes:
        threshold: from which value on a pixel of the map is text.
        unclip_ratio: how far a spot grows, for the network was taught to shrink them: by its area times this by its
            perimeter, on each side.
        max_side: where the file leaves its sides free, the pixels that the longer side of a picture is scaled down to.
    """

    threshold: float = 0.3
    unclip_ratio: float = 1.5
    max_side: int = 960


class PpocrDet:
    """A loaded text detector; may be shared between threads.

    Args:
        session: the loaded file: one picture in, the probability of text in each pixel out, (n, 1, H, W).
        normalisation: what the network wants to see.
        options: see ``DbOptions``.

    Raises:
        ModelError: the file is no text detector; says what was expected and found.
    """

    class_count = 1
    batch_size = 1
    class_names: tuple[str, ...] = ()
    layout = "one map of text and background"

    def __init__(
        self, session: Session, *, normalisation: Normalisation | None = None, options: DbOptions | None = None
    ) -> None:
        self._options = options or DbOptions()
        self._network = PictureNetwork(session, default_size_wh=(_GRID, _GRID))
        self._normalisation = normalisation or USUAL
        width, height = self._network.size_wh
        sample = self._network.run(np.zeros((1, 3, height, width), dtype=np.float32))[0]
        if sample.ndim != 4 or sample.shape[1] != 1 or sample.size == 0 or sample.dtype != np.float32:
            raise ModelError(
                f"'{session.name}' finds no text: expected an output [n, 1, H, W] of floats, got "
                f"{list(sample.shape)} {sample.dtype}"
            )

    @property
    def description(self) -> str:
        """What runs where."""
        return self._network.description

    def look(self, image_bgr: ImageBgr, *, min_scores: FloatArray, iou_threshold: float = 1.0) -> Found:
        """Finds lines of text in a picture (height, width, 3), best score first.

        Args:
            image_bgr: the picture; not written to.
            min_scores: (1,), the least mean of the map in a line's spot.
            iou_threshold: not looked at: spots of the map do not overlap.

        Returns:
            Corners from the one where reading begins, clockwise; boxes are those around them. Class 0.
        """
        text_map = self.text_map(image_bgr)
        corners, scores = boxes_of_map(text_map, options=self._options, min_score=float(min_scores[0]))
        height, width = image_bgr.shape[:2]
        scale = np.array([width / text_map.shape[1], height / text_map.shape[0]], dtype=np.float32)
        corners = np.clip(corners * scale, 0, np.array([width, height], dtype=np.float32))
        order = np.argsort(-scores, kind="stable")
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        detections = Detections.from_arrays(boxes, scores, np.zeros(len(scores)), corners_xy=corners)
        return Found(detections.select(order))

    def look_many(self, pictures: Sequence[ImageBgr], *, min_scores: FloatArray, iou_threshold: float) -> list[Found]:
        """Does so for some pictures, one after another: pages have all sizes."""
        return [self.look(image, min_scores=min_scores, iou_threshold=iou_threshold) for image in pictures]

    def text_map(self, image_bgr: ImageBgr) -> FloatArray:
        """The probability of text, (H, W) of the network's input, to which the picture is stretched."""
        width, height = self._input_size(image_bgr.shape[1], image_bgr.shape[0])
        stretched = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_LINEAR)
        blob: FloatArray = np.empty((1, 3, height, width), dtype=np.float32)
        self._normalisation.fill(blob[0], np.asarray(stretched, dtype=np.uint8))
        found: FloatArray = self._network.run(blob)[0][0, 0]
        return found

    def _input_size(self, width: int, height: int) -> tuple[int, int]:
        """The file's sides; those that it leaves free are the picture's, as far as they may go."""
        fixed_w, fixed_h = self._network.input.size_wh
        scale = min(1.0, self._options.max_side / max(width, height))
        free_w, free_h = (max(_GRID, round(side * scale / _GRID) * _GRID) for side in (width, height))
        return fixed_w or free_w, fixed_h or free_h


def load(session: Session, reading: Reading) -> PpocrDet:
    """The detector of a file; ``options`` are the fields of ``DbOptions``."""
    if reading.classes not in (None, (0,)):
        raise ModelError(f"'{session.name}' has the one class 0, asked for numbers {reading.classes}")
    return PpocrDet(session, normalisation=reading.normalisation, options=DbOptions(**reading.options))


def suggest(session: Session) -> Suggestion | None:
    """Whether the file is a text detector: a picture of free size in, one map of its size out."""
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        return None
    [taken], [given] = (spec.shape for spec in session.inputs), (spec.shape for spec in session.outputs)
    if len(taken) != 4 or taken[1] != 3 or len(given) != 4 or given[1] != 1 or taken[2:] != given[2:]:
        return None
    return Suggestion(
        element="ppocr_det",
        layout="one map of the picture's size",
        configure={"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        notes=("the map must be the probability of text; a portrait's alpha matte has the same shape",),
        certainty=0.6 if None in taken[2:] else 0.3,
    )


def boxes_of_map(text_map: FloatArray, *, options: DbOptions, min_score: float) -> tuple[FloatArray, FloatArray]:
    """The spots of a map (H, W) as corners (n, 4, 2) in its pixels, not clipped, and their scores (n,)."""
    bitmap = (text_map > options.threshold).astype(np.uint8)
    contours, _ = cv2.findContours(bitmap, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    corners, scores = [], []
    for contour in contours:
        center, size, angle = cv2.minAreaRect(contour)
        if min(size) < _LEAST_SIDE:
            continue
        score = _mean_inside(text_map, np.asarray(cv2.boxPoints((center, size, angle))))
        grown = _grown(size[0], size[1], options.unclip_ratio)
        if score >= min_score and min(grown) >= _LEAST_GROWN_SIDE:
            corners.append(in_reading_order(np.asarray(cv2.boxPoints((center, grown, angle)))))
            scores.append(score)
    return np.array(corners, dtype=np.float32).reshape(-1, 4, 2), np.array(scores, dtype=np.float32)


def in_reading_order(points_xy: FloatArray) -> FloatArray:
    """The corners (4, 2) of a turned rectangle, clockwise from the top left of a text that is not upside down."""
    centre = points_xy.mean(axis=0)
    angles = np.arctan2(points_xy[:, 1] - centre[1], points_xy[:, 0] - centre[0])
    clockwise = points_xy[np.argsort(angles, kind="stable")]
    sides = np.roll(clockwise, -1, axis=0) - clockwise
    starts = np.argsort(np.abs(np.arctan2(sides[:, 1], sides[:, 0])), kind="stable")
    ordered: FloatArray = np.roll(clockwise, -int(starts[0]), axis=0).astype(np.float32)
    return ordered


def _grown(width: float, height: float, ratio: float) -> tuple[float, float]:
    """The sides of a rectangle with area times ratio by perimeter added all round: what offsetting it comes to."""
    margin = width * height * ratio / (2 * (width + height))
    return width + 2 * margin, height + 2 * margin


def _mean_inside(text_map: FloatArray, corners_xy: FloatArray) -> float:
    """The mean of the map inside a turned rectangle."""
    height, width = text_map.shape
    left, top = (max(0, math.floor(float(v))) for v in corners_xy.min(axis=0))
    right = min(width, math.ceil(float(corners_xy[:, 0].max())) + 1)
    bottom = min(height, math.ceil(float(corners_xy[:, 1].max())) + 1)
    mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
    cv2.fillPoly(mask, [np.rint(corners_xy - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(text_map[top:bottom, left:right], mask)[0])
