"""YuNet face detectors (Wu, Peng, Yu: YuNet, 2023), as libfacedetection.train and OpenCV's model zoo export them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.models.faces import (
    POINTS,
    STRIDES,
    FaceFinder,
    FaceRows,
    as_rows,
    candidate_rows,
    corners,
    grid_cells,
    grown_sizes,
    shapes_of,
    suggest_finder,
)
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

_BOX, _POINTS = 4, 2 * POINTS
_HEADS_PER_STRIDE = 4


class _Heads(NamedTuple):
    """Numbers of the outputs of one stride. Class and objectness may change places: only their product counts."""

    scores: tuple[int, int]
    box: int
    points: int


class YuNet(FaceFinder):
    """Twelve outputs: class, objectness, box and points for each of three strides, in any order.

    In a cell of stride s: score = sqrt(class * objectness), centre = (cell + box[:2]) * s, size = exp(box[2:]) * s and
    points = (cell + points) * s. Each output may be [1, cells, columns] or a map [1, columns, h, w].
    """

    family = "yunet"

    def learn_layout(self, outputs: Sequence[npt.NDArray[Any]], size_wh: tuple[int, int]) -> None:
        """Which output is what, and whether the scores still lack their sigmoid."""
        heads = [_heads_of(outputs, grid_cells(size_wh, stride)) for stride in STRIDES]
        found = [head for head in heads if head is not None]
        if len(found) != len(STRIDES) or len(outputs) != _HEADS_PER_STRIDE * len(STRIDES):
            cells = ", ".join(str(math.prod(grid_cells(size_wh, stride))) for stride in STRIDES)
            raise self.refusal(
                f"for an input of {size_wh[0]}x{size_wh[1]} four outputs of 1, 1, 4 and 10 columns with each of "
                f"{cells} rows, got {shapes_of(outputs)}"
            )
        self._heads = tuple(found)
        scores = np.concatenate([outputs[i].ravel() for head in found for i in head.scores])
        self._logits = bool(((scores < 0) | (scores > 1)).any())

    def decode(self, outputs: Sequence[npt.NDArray[Any]], *, size_wh: tuple[int, int], min_score: float) -> FaceRows:
        """The candidates of all strides, finest first."""
        parts = [
            self._decode_stride(outputs, head, stride=stride, size_wh=size_wh, min_score=min_score)
            for head, stride in zip(self._heads, STRIDES, strict=True)
        ]
        return FaceRows(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.points_xy for part in parts]),
        )

    def _decode_stride(
        self,
        outputs: Sequence[npt.NDArray[Any]],
        head: _Heads,
        *,
        stride: int,
        size_wh: tuple[int, int],
        min_score: float,
    ) -> FaceRows:
        grid_wh = grid_cells(size_wh, stride)
        cells = _cells(grid_wh)
        first, second = (self._probabilities(self._table(outputs[i], grid_wh)[:, 0]) for i in head.scores)
        box, points = self._table(outputs[head.box], grid_wh), self._table(outputs[head.points], grid_wh)
        rows, scores = candidate_rows(np.sqrt(first * second), box, points, min_score=min_score)
        unit = np.float32(stride)
        centres = (cells[rows] + box[rows, :2]) * unit
        boxes = corners(centres, grown_sizes(box[rows, 2:], np.full((1, 2), unit, dtype=np.float32)))
        points_xy = (cells[rows][:, None, :] + points[rows].reshape(-1, POINTS, 2)) * unit
        return FaceRows(boxes, scores, points_xy)

    def _probabilities(self, values: FloatArray) -> FloatArray:
        if self._logits:
            values = np.reciprocal(1 + np.exp(-np.clip(values, -50, 50)))
        return np.clip(values, 0, 1)

    def _table(self, output: npt.NDArray[Any], grid_wh: tuple[int, int]) -> FloatArray:
        table = as_rows(output, math.prod(grid_wh), grid_wh=grid_wh)
        if table is None:
            raise self.refusal(f"{math.prod(grid_wh)} rows, got {shapes_of([output])}")
        return table


def suggest(session: Session) -> Suggestion | None:
    """How to run a YuNet file; ``None`` for any other."""
    if len(session.outputs) != _HEADS_PER_STRIDE * len(STRIDES):
        return None
    return suggest_finder(
        YuNet,
        session,
        layout=f"YuNet: faces with 5 points, {len(STRIDES)} strides of {_HEADS_PER_STRIDE} outputs",
        configure={"score_threshold": 0.6, "threshold_nms": 0.4},
        note="pixels as they are, blue first: leave 'mean', 'std' and 'bgr2rgb' out",
    )


def _heads_of(outputs: Sequence[npt.NDArray[Any]], grid_wh: tuple[int, int]) -> _Heads | None:
    tables = {i: as_rows(output, math.prod(grid_wh), grid_wh=grid_wh) for i, output in enumerate(outputs)}
    columns = {i: table.shape[1] for i, table in tables.items() if table is not None}
    by_columns = {width: [i for i, found in columns.items() if found == width] for width in (1, _BOX, _POINTS)}
    if [len(found) for found in by_columns.values()] != [2, 1, 1]:
        return None
    return _Heads((by_columns[1][0], by_columns[1][1]), by_columns[_BOX][0], by_columns[_POINTS][0])


@functools.lru_cache(maxsize=16)
def _cells(grid: tuple[int, int]) -> FloatArray:
    """Column and row (n, 2) of each cell of a grid, row by row."""
    columns, rows = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]))
    cells: FloatArray = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)
    cells.flags.writeable = False
    return cells


FINDER = YuNet
