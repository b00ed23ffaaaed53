"""From the raw outputs of a YOLOv8 network to candidates: one box, class and score each, before suppression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, IntArray
from streamserver.models._yolo_cells import sigmoid
from streamserver.models.detector import renumber
from streamserver.models.network import Outputs

BOX = 4
_SCORE, _CLASS, END_TO_END = 4, 5, 6
"""Columns of an end-to-end row: box, score, class; what else there is follows."""


class Task(StrEnum):
    """What a network was made for; the values are those of the key ``task_type``."""

    DETECT = "Detect"
    POSE = "Pose"
    CLS = "Cls"
    SEG = "Seg"
    OBB = "Obb"


@dataclass(frozen=True, slots=True)
class Columns:
    """What a network says of a cell besides its box: ``classes`` scores, then what the task adds.

    Attributes:
        classes: how many; 0 when the file does not say (end to end without names).
        keypoints: how many key points, and numbers for each.
        masks: coefficients of the mask.
        angles: 1 where boxes are turned.
    """

    classes: int
    keypoints: tuple[int, int] = (0, 0)
    masks: int = 0
    angles: int = 0

    @property
    def extra(self) -> int:
        """How many numbers follow the classes."""
        return self.keypoints[0] * self.keypoints[1] + self.masks + self.angles


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a network proposes, in pixels of its input.

    Attributes:
        boxes_cxcywh: float32 (n, 4).
        scores: float32 (n,).
        class_ids: int64 (n,), numbered as ``wanted`` has them.
        extras: float32 (n, e): key points, coefficients of the mask, or the angle in radians.
        suppressed: the network has removed overlapping boxes itself.
    """

    boxes_cxcywh: FloatArray
    scores: FloatArray
    class_ids: IntArray
    extras: FloatArray
    suppressed: bool = False

    def finite(self) -> Candidates:
        """Without boxes that are no numbers."""
        good = np.isfinite(self.boxes_cxcywh).all(axis=1) & np.isfinite(self.extras).all(axis=1)
        if good.all():
            return self
        return dataclasses.replace(
            self,
            boxes_cxcywh=self.boxes_cxcywh[good],
            scores=self.scores[good],
            class_ids=self.class_ids[good],
            extras=self.extras[good],
        )


class Head(Protocol):
    """One way to write down what was found."""

    @property
    def columns(self) -> Columns:
        """What is said of each box."""

    @property
    def words(self) -> str:
        """The layout in words."""

    def candidates(self, outputs: Outputs, *, min_scores: FloatArray, wanted: IntArray | None) -> Candidates:
        """Boxes that are good enough.

        Args:
            outputs: what the network gave for one picture.
            min_scores: the lowest score that counts, one for each class that is reported; one for all where the file
                does not say how many classes there are.
            wanted: the network's numbers of the classes that are reported; ``None`` for all.
        """


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of all levels in the order of the rows: middles (n, 2) in cells and strides (n, 1) in pixels."""

    centres: FloatArray
    strides: FloatArray

    @classmethod
    def for_levels(cls, levels: Sequence[tuple[int, int, int]]) -> Grid:
        """From columns, rows and stride of each level."""
        centres, strides = [], []
        for columns, rows, stride in levels:
            xs, ys = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
            centres.append(np.stack([xs.ravel(), ys.ravel()], axis=1))
            strides.append(np.full((columns * rows, 1), stride))
        return cls(np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellHead:
    """One row of numbers for each cell.

    Attributes:
        columns: what follows the box.
        words: the layout in words.
        rows: takes the outputs, gives (cells, numbers).
        logits: scores still need a sigmoid.
        grid: where the cells are, when boxes are still raw: distances from the cell to the four sides.
        bins: of raw boxes, numbers for each side: the weights of distances 0 to bins - 1, or with 1 the distance.
    """

    columns: Columns
    words: str
    rows: Callable[[Outputs], FloatArray]
    logits: bool = False
    grid: Grid | None = None
    bins: int = 1

    @property
    def box_columns(self) -> int:
        """Numbers before the scores."""
        return BOX if self.grid is None else BOX * self.bins

    def candidates(self, outputs: Outputs, *, min_scores: FloatArray, wanted: IntArray | None) -> Candidates:
        """The best class of each cell, where it is good enough."""
        matrix = self.rows(outputs)
        scores = matrix[:, self.box_columns : self.box_columns + self.columns.classes]
        if wanted is not None:
            scores = scores[:, wanted]
        best = sigmoid(scores.max(axis=1)) if self.logits else scores.max(axis=1)
        gate = np.flatnonzero(best >= min_scores.min())
        class_ids = scores[gate].argmax(axis=1)
        good = best[gate] >= min_scores[class_ids]
        cells = gate[good]
        boxes, extras = self._decode(matrix[cells], cells)
        return Candidates(boxes, best[cells], class_ids[good].astype(np.int64), extras)

    def _decode(self, rows: FloatArray, cells: npt.NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        extras = rows[:, self.box_columns + self.columns.classes :]
        if self.grid is None:
            return rows[:, :BOX], extras
        centres, strides = self.grid.centres[cells], self.grid.strides[cells]
        extras = self._decode_extras(extras, centres, strides)
        sides = _distances(rows[:, : self.box_columns].reshape(len(rows), BOX, self.bins))
        shift = (sides[:, 2:] - sides[:, :2]) / 2
        if self.columns.angles:
            cos, sin = np.cos(extras), np.sin(extras)
            shift = np.hstack([shift[:, :1] * cos - shift[:, 1:] * sin, shift[:, :1] * sin + shift[:, 1:] * cos])
        boxes: FloatArray = np.hstack([centres + shift, sides[:, :2] + sides[:, 2:]]) * strides
        return boxes, extras

    def _decode_extras(self, raw: FloatArray, centres: FloatArray, strides: FloatArray) -> FloatArray:
        if self.columns.angles:
            angles: FloatArray = (sigmoid(raw) - 0.25) * np.float32(np.pi)
            return angles
        count, numbers = self.columns.keypoints
        if not count:
            return raw
        points = raw.reshape(len(raw), count, numbers).copy()
        points[..., :2] = (points[..., :2] * 2 + centres[:, None] - 0.5) * strides[:, None]
        points[..., 2:] = sigmoid(points[..., 2:])
        return points.reshape(raw.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEndHead:
    """One row for each object: left, top, right, bottom (turned boxes: centre and size), score, class, the rest.

    Attributes:
        columns: what follows the class; its ``classes`` is 0 when the file has no names.
        words: the layout in words.
        index: which output.
    """

    columns: Columns
    words: str
    index: int

    def candidates(self, outputs: Outputs, *, min_scores: FloatArray, wanted: IntArray | None) -> Candidates:
        """The rows that are good enough; those with score 0 only fill up the output."""
        rows: FloatArray = outputs[self.index][0]
        numbers = np.rint(rows[:, _CLASS]).astype(np.int64)
        class_ids = renumber(numbers, wanted)
        limits = np.append(min_scores, np.inf if len(min_scores) > 1 else min_scores)
        limits = limits[np.clip(class_ids, 0, len(limits) - 1)]
        good = (class_ids >= 0) & (rows[:, _SCORE] >= limits) & (rows[:, _SCORE] > 0)
        rows, class_ids = rows[good], class_ids[good]
        boxes = rows[:, :BOX]
        if not self.columns.angles:
            boxes = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])
        return Candidates(boxes, rows[:, _SCORE], class_ids, rows[:, END_TO_END:], suppressed=True)


def _distances(weights: FloatArray) -> FloatArray:
    """(n, 4, bins) to (n, 4): the mean of the distribution that a softmax makes of the weights, in cells."""
    if weights.shape[2] == 1:
        return weights[..., 0]
    powers = np.exp(weights - weights.max(axis=2, keepdims=True))
    sums: FloatArray = powers @ np.arange(weights.shape[2], dtype=np.float32)
    means: FloatArray = sums / powers.sum(axis=2)
    return means
