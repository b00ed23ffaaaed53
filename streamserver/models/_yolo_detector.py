"""A yolo network that tells objectness from class (YOLOX, YOLOv5, YOLOv7): from a picture to what is in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.geometry.boxes import cxcywh_to_xyxy
from streamserver.geometry.nms import nms
from streamserver.models._yolo_cells import Cells, Rows, sigmoid
from streamserver.models._yolo_layout import BOX_COLUMNS, GridLayout, ListLayout, Outputs, Scheme, find_layout
from streamserver.models.found import Found
from streamserver.models.letterboxed import LetterboxedNetwork

_SHARES_BELOW = 2.0
"""Boxes of a whole list that all end below so few pixels are shares of the input's sides."""

_ROUNDING = 1e-3

BoxRule = Callable[[Cells, FloatArray, Rows], FloatArray]
"""Turns what the file says of some cells, (n, 4), into centre and size in pixels."""


@dataclass(frozen=True, slots=True)
class YoloFamily:
    """How one family is read.

    Attributes:
        scheme: its output layouts.
        box_rule: how boxes come from what the file says of a cell.
        boxes_activated: the rule takes shares from 0 to 1 (where the file gives logits, their sigmoid).
        class_aware: only boxes of one class suppress each other.
        drops_whole: a box at least as wide and as high as the picture is no object.
    """

    scheme: Scheme
    box_rule: BoxRule
    boxes_activated: bool
    class_aware: bool
    drops_whole: bool = False


class YoloDetector:
    """A loaded network; may be shared between threads.

    Args:
        network: sees the pictures.
        family: how its outputs are read.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.
        one_class: all classes are one, number 0.

    Attributes:
        class_count: classes it can report; 0 where the file does not say (its NMS is inside).
        layout: which of the family's layouts it has.

    Raises:
        ModelError: the file is none of the family; says what was expected and found.
    """

    def __init__(
        self,
        network: LetterboxedNetwork,
        family: YoloFamily,
        *,
        classes: tuple[int, ...] | None = None,
        one_class: bool = False,
    ) -> None:
        self._network = network
        self._family = family
        self._one_class = one_class
        self.size_wh = network.size_wh
        names = [spec.name for spec in network.network.session.outputs]
        try:
            self.layout = find_layout(network.run_on_grey(), names, network.size_wh, family.scheme)
        except ValueError as e:
            raise ModelError(
                f"'{network.name}' is {e}",
                cure=f"'python -m streamserver.models inspect {network.name}' says what it is",
            ) from e
        known = self.layout.columns - family.scheme.class_column if isinstance(self.layout, GridLayout) else 0
        if classes is not None and (not classes or (known and max(classes) >= known)):
            raise ModelError(f"'{network.name}' has {known} classes, asked for numbers {classes}")
        self._classes = None if classes is None else np.array(classes, dtype=np.intp)
        self.class_count = 1 if one_class else known if classes is None else len(classes)

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolox_nano.onnx on CPUExecutionProvider``."""
        return self._network.description

    def look(self, image_bgr: ImageBgr, *, min_scores: FloatArray, iou_threshold: float) -> Found:
        """Finds objects in a picture of shape (height, width, 3); see ``Detector.look``."""
        return Found(self.detect(image_bgr, min_scores=min_scores, iou_threshold=iou_threshold))

    def detect(self, image_bgr: ImageBgr, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """As ``look``: boxes in pixels of the picture, not clipped, best score first."""
        blob, mapping = self._network.prepare(image_bgr)
        found = self.postprocess(self._network.run(blob), min_scores=min_scores, iou_threshold=iou_threshold)
        corners = found.corners_xy
        found = dataclasses.replace(
            found,
            boxes_xyxy=mapping.boxes_to_picture(found.boxes_xyxy),
            corners_xy=None if corners is None else mapping.points_to_picture(corners),
        )
        if not self._family.drops_whole:
            return found
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        return found.select(np.flatnonzero((sides < image_bgr.shape[1::-1]).any(axis=1)))

    def postprocess(self, outputs: Outputs, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """The network's outputs to detections in pixels of its input, best score first."""
        if isinstance(self.layout, GridLayout):
            found = self._read_grid(self.layout, outputs, min_scores)
        else:
            found = self._read_list(self.layout, outputs, min_scores)
        found = found.select(np.flatnonzero(np.isfinite(found.boxes_xyxy).all(axis=1)))
        class_ids = found.class_ids if self._family.class_aware else None
        order = nms(found.boxes_xyxy, found.scores, iou_threshold=iou_threshold, class_ids=class_ids)
        return found.select(order)

    def _read_grid(self, layout: GridLayout, outputs: Outputs, min_scores: FloatArray) -> Detections:
        least = float(min_scores.min()) - _ROUNDING
        values, rows = layout.rows(outputs, least_objectness=least if layout.activated else _logit(least))
        first = self._family.scheme.class_column
        objectness, classes = values[:, BOX_COLUMNS - 1], self._chosen(values[:, first:])
        if not layout.activated:
            objectness, classes = sigmoid(objectness), sigmoid(classes)
        scores, class_ids = self._best(objectness, classes)
        good = np.flatnonzero(scores >= min_scores[class_ids])
        values, rows = values[good], rows[good]
        points = values[:, BOX_COLUMNS:first]
        return Detections.from_arrays(
            self._boxes(layout, values[:, :4], rows),
            scores[good],
            class_ids[good],
            corners_xy=self._points(layout, points, rows) if points.shape[1] else None,
        )

    def _chosen(self, classes: FloatArray) -> FloatArray:
        return classes if self._classes is None else classes[:, self._classes]

    def _best(self, objectness: FloatArray, classes: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
        """The score (n,) and the number (n,) of each row's best class."""
        class_ids = classes.argmax(axis=1)
        scores = objectness * classes[np.arange(len(classes)), class_ids]
        return scores, np.zeros_like(class_ids) if self._one_class else class_ids

    def _boxes(self, layout: GridLayout, raw: FloatArray, rows: Rows) -> FloatArray:
        if layout.unit_wh is not None:
            centers_sizes = raw * np.array(layout.unit_wh * 2, dtype=np.float32)
        else:
            wanted = sigmoid(raw) if self._family.boxes_activated and not layout.activated else raw
            centers_sizes = self._family.box_rule(layout.cells, wanted, rows)
        return cxcywh_to_xyxy(centers_sizes).astype(np.float32, copy=False)

    def _points(self, layout: GridLayout, raw: FloatArray, rows: Rows) -> FloatArray:
        if layout.unit_wh is None:
            return layout.cells.points(raw, rows)
        return raw.reshape(len(raw), raw.shape[1] // 2, 2) * np.array(layout.unit_wh, dtype=np.float32)

    def _read_list(self, layout: ListLayout, outputs: Outputs, min_scores: FloatArray) -> Detections:
        boxes, scores, class_ids = layout.objects(outputs)
        if len(boxes) and boxes.max() <= _SHARES_BELOW:
            boxes = boxes * np.array(self.size_wh * 2, dtype=np.float32)
        class_ids = self._renumbered(class_ids)
        limits = np.append(min_scores, np.inf)
        if len(min_scores) == 1 and self.class_count == 0:
            limits = np.repeat(min_scores, 2)
        known = (class_ids >= 0) & (scores > 0)
        good = known & (scores >= limits[np.clip(class_ids, 0, len(limits) - 1)])
        return Detections.from_arrays(boxes[good], scores[good], class_ids[good])

    def _renumbered(self, class_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of the chosen classes; -1 for others."""
        if self._one_class:
            return np.zeros_like(class_ids)
        if self._classes is None:
            return class_ids
        same = class_ids[:, None] == self._classes[None, :]
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _logit(share: float) -> float:
    """The logit of a share; minus infinity for nothing or less."""
    return -math.inf if share <= 0 else math.log(share / (1 - share))


def class_summary(detector: YoloDetector) -> str:
    """What a person should know of a file's classes."""
    count = detector.class_count
    return f"{count} classes" if count else "the file does not say how many classes it has"
