"""A yolo network that tells objectness from class (YOLOX, YOLOv5, YOLOv7): from a picture to what is in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections, FloatArray
from streamserver.core.errors import ModelError
from streamserver.core.picture import Pixels, size_wh_of
from streamserver.geometry.boxes import cxcywh_to_xyxy
from streamserver.geometry.nms import nms
from streamserver.models._yolo_cells import Cells, Rows, sigmoid
from streamserver.models._yolo_layout import BOX_COLUMNS, GridLayout, ListLayout, Scheme, find_layout
from streamserver.models._yolo_options import YoloOptions
from streamserver.models.detector import Found, Reading, choose_classes, choose_names, renumber
from streamserver.models.letterboxed import LetterboxedNetwork
from streamserver.models.network import Outputs
from streamserver.models.normalisation import Normalisation
from streamserver.models.ultralytics import ExportNotes
from streamserver.runtime.session import Session
from streamserver.vision.letterbox import Anchor, LetterboxMap

_SHARES_BELOW = 2.0
"""Boxes of a whole list that all end below so few pixels are shares of the input's sides."""

_ROUNDING = 1e-3

BoxRule = Callable[[Cells, FloatArray, Rows], FloatArray]
"""Turns what the file says of some cells, (n, 4), into centre and size in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloFamily:
    """How one family is read.

    Attributes:
        scheme: its output layouts.
        box_rule: how boxes come from what the file says of a cell.
        boxes_activated: the rule takes shares from 0 to 1 (where the file gives logits, their sigmoid).
        class_aware: only boxes of one class suppress each other.
        drops_whole: a box at least as wide and as high as the picture is no object.
        usual: what the official exports take.
        anchor: where the picture lies in the input.
        options: keys of ``YoloOptions`` that the family knows.
    """

    scheme: Scheme
    box_rule: BoxRule
    boxes_activated: bool
    class_aware: bool
    drops_whole: bool
    usual: Normalisation
    anchor: Anchor
    options: tuple[str, ...]


class YoloDetector:
    """A loaded network; may be shared between threads.

    Args:
        session: the loaded file.
        family: how its outputs are read.
        reading: what is said of the file; ``options`` are fields of ``YoloOptions``.

    Attributes:
        class_count: classes it can report; 0 where the file does not say (its NMS is inside).
        class_names: their names, where the file says them.
        layout: which of the family's layouts it has, in words.
        outputs: the same for programs.
        batch_size: pictures that are worth giving to ``look_many`` at once.

    Raises:
        ModelError: the file is none of the family, or not as ``reading`` says; says what was expected and found.
    """

    def __init__(self, session: Session, family: YoloFamily, reading: Reading | None = None) -> None:
        reading = reading or Reading()
        chosen = _options_of(session.name, family, reading)
        self._scheme = _scheme_of(family, chosen)
        self._family = family
        self._one_class = chosen.one_class
        self._network = LetterboxedNetwork(
            session,
            normalisation=reading.normalisation or family.usual,
            pad=chosen.pad,
            anchor=family.anchor,
            enlarge=chosen.enlarge,
        )
        self.size_wh = self._network.size_wh
        self.batch_size = self._network.batch_size
        self.outputs = self._find_outputs(session)
        self.layout = self.outputs.words
        names = ExportNotes.from_metadata(session.metadata).names
        known = self._count_classes(session, names)
        self._classes = choose_classes(session.name, reading.classes, known)
        self.class_count = 1 if chosen.one_class else known if self._classes is None else len(self._classes)
        self.class_names = () if chosen.one_class else choose_names(names, self._classes)

    def _find_outputs(self, session: Session) -> GridLayout | ListLayout:
        names = [spec.name for spec in session.outputs]
        try:
            found = find_layout(self._network.run_on_grey(), names, self.size_wh, self._scheme)
        except ValueError as e:
            raise ModelError(f"'{session.name}' is {e}") from e
        if self._scheme.points and isinstance(found, ListLayout):
            raise ModelError(
                f"'{session.name}' gives a list of boxes without corners, but 'corners' is {self._scheme.points}"
            )
        return found

    def _count_classes(self, session: Session, names: Sequence[str]) -> int:
        """Those of the rows, of a list those that the file names; 0 when it does not say."""
        if isinstance(self.outputs, ListLayout):
            return len(names)
        count = self.outputs.columns - self._scheme.class_column
        if names and len(names) != count:
            raise ModelError(
                f"'{session.name}' names {len(names)} classes in its metadata, but read as {self._scheme.label} its "
                f"outputs have {count} ({self.layout})"
            )
        return count

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolox_nano.onnx on CPUExecutionProvider``."""
        return self._network.description

    def look(self, pixels: Pixels, *, min_scores: FloatArray, iou_threshold: float) -> Found:
        """Finds objects in a picture; see ``Detector.look``."""
        return self.look_many([pixels], min_scores=min_scores, iou_threshold=iou_threshold)[0]

    def look_many(self, pictures: Sequence[Pixels], *, min_scores: FloatArray, iou_threshold: float) -> list[Found]:
        """Finds objects in some pictures; see ``Detector.look_many``."""
        runs = zip(pictures, self._network.look(pictures), strict=True)
        return [
            Found(
                self._in_picture(
                    self.postprocess(outputs, min_scores=min_scores, iou_threshold=iou_threshold),
                    mapping,
                    size_wh_of(pixels),
                )
            )
            for pixels, (outputs, mapping) in runs
        ]

    def detect(self, pixels: Pixels, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """As ``look``: boxes in pixels of the picture, not clipped, best score first."""
        return self.look(pixels, min_scores=min_scores, iou_threshold=iou_threshold).detections

    def _in_picture(self, found: Detections, mapping: LetterboxMap, size_wh: tuple[int, int]) -> Detections:
        """What was found, from pixels of the network's input to those of the picture."""
        corners = found.corners_xy
        found = dataclasses.replace(
            found,
            boxes_xyxy=mapping.boxes_to_picture(found.boxes_xyxy),
            corners_xy=None if corners is None else mapping.points_to_picture(corners),
        )
        if not self._family.drops_whole:
            return found
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        part = (sides < size_wh).any(axis=1)
        return found if part.all() else found.select(np.flatnonzero(part))

    def postprocess(self, outputs: Outputs, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """The network's outputs to detections in pixels of its input, best score first."""
        if isinstance(self.outputs, GridLayout):
            found = self._read_grid(self.outputs, outputs, min_scores)
        else:
            found = self._read_list(self.outputs, outputs, min_scores)
        finite = np.isfinite(found.boxes_xyxy)
        if not finite.all():
            found = found.select(np.flatnonzero(finite.all(axis=1)))
        class_ids = found.class_ids if self._family.class_aware else None
        order = nms(found.boxes_xyxy, found.scores, iou_threshold=iou_threshold, class_ids=class_ids)
        return found.select(order)

    def _read_grid(self, layout: GridLayout, outputs: Outputs, min_scores: FloatArray) -> Detections:
        least = float(min_scores.min()) - _ROUNDING
        values, rows = layout.rows(outputs, least_objectness=least if layout.activated else _logit(least))
        first = self._scheme.class_column
        objectness, classes = values[:, BOX_COLUMNS - 1], self._chosen(values[:, first:])
        if not layout.activated:
            objectness, classes = sigmoid(objectness), sigmoid(classes)
        scores, class_ids = self._best(objectness, classes)
        good = np.flatnonzero(scores >= min_scores[class_ids])
        values, rows = values[:, :first][good], rows[good]
        points = values[:, BOX_COLUMNS:]
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
        class_ids = np.zeros_like(class_ids) if self._one_class else renumber(class_ids, self._classes)
        limits = np.append(min_scores, np.inf)
        if len(min_scores) == 1 and self.class_count == 0:
            limits = np.repeat(min_scores, 2)
        known = (class_ids >= 0) & (scores > 0)
        good = known & (scores >= limits[np.clip(class_ids, 0, len(limits) - 1)])
        return Detections.from_arrays(boxes[good], scores[good], class_ids[good])


def _options_of(name: str, family: YoloFamily, reading: Reading) -> YoloOptions:
    try:
        return YoloOptions.from_mapping(reading.options, known=family.options)
    except ValueError as e:
        raise ModelError(f"'{name}': options: {e}") from e


def _scheme_of(family: YoloFamily, chosen: YoloOptions) -> Scheme:
    """The family's, with the anchors and points that somebody names."""
    anchors = family.scheme.anchor_sets if chosen.anchors is None else ((len(chosen.anchors), chosen.anchors),)
    return dataclasses.replace(family.scheme, anchor_sets=anchors, points=chosen.corners)


def _logit(share: float) -> float:
    """The logit of a share; minus infinity for nothing or less."""
    return -math.inf if share <= 0 else math.log(share / (1 - share))


def class_summary(detector: YoloDetector) -> str:
    """What a person should know of a file's classes."""
    count = detector.class_count
    return f"{count} classes" if count else "the file does not say how many classes it has"
