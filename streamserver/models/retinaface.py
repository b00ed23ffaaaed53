"""RetinaFace detectors (Deng et al., 2019) in the form of the PyTorch exports with mobilenet0.25 or resnet50."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

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
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session

_PRIOR_SIDES = ((16, 32), (64, 128), (256, 512))
"""Sides in pixels of the two square priors of each cell, by stride."""

_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_BOX, _CLASSES, _POINTS = 4, 2, 2 * POINTS
_LARGEST_LOGIT = 1e4
_SUM_TOLERANCE = 0.02
"""How far two probabilities of a float16 network may be from 1 in sum."""


class RetinaFace(FaceFinder):
    """Outputs of 4 (box), 2 (no face, face) and 10 (points) columns in any order, or one with all 16 in this order.

    Rows are priors: for each stride, each cell row by row, two squares. A box has centre = prior + 0.1 * value * side
    and size = side * exp(0.2 * value); points are like centres. Whether the file has applied the softmax is found out.
    """

    family = "retinaface"
    usual = Normalisation(offset=(104.0, 117.0, 123.0))
    nms_margin_px = 1.0
    """As the suppression that these networks were tuned with counts pixels: right - left + 1."""

    def learn_layout(self, outputs: Sequence[npt.NDArray[Any]], size_wh: tuple[int, int]) -> None:
        """Which output is what, and whether its scores are probabilities already."""
        count = len(_priors(size_wh))
        tables = [as_rows(output, count) for output in outputs]
        columns = [0 if table is None else table.shape[1] for table in tables]
        if sorted(columns) == [_CLASSES, _BOX, _POINTS]:
            self._order: tuple[int, ...] = tuple(columns.index(width) for width in (_BOX, _CLASSES, _POINTS))
        elif columns == [_BOX + _CLASSES + _POINTS]:
            self._order = (0,)
        else:
            raise self.refusal(
                f"for an input of {size_wh[0]}x{size_wh[1]} outputs of {count} rows and 4, 2 and 10 columns, or one "
                f"of 16, got {shapes_of(outputs)}"
            )
        _, scores, _ = self._tables(outputs, count)
        bounded = ((scores >= 0) & (scores <= 1)).all()
        self._logits = not (bounded and np.abs(scores.sum(axis=1) - 1).max() < _SUM_TOLERANCE)

    def decode(self, outputs: Sequence[npt.NDArray[Any]], *, size_wh: tuple[int, int], min_score: float) -> FaceRows:
        """The candidates in the priors' order."""
        priors = _priors(size_wh)
        box, classes, points = self._tables(outputs, len(priors))
        rows, scores = candidate_rows(self._probabilities(classes), box, points, min_score=min_score)
        centres, sides = priors[rows, :2], priors[rows, 2:]
        shift = np.float32(_CENTRE_VARIANCE) * sides
        sizes = grown_sizes(box[rows, 2:] * np.float32(_SIZE_VARIANCE), sides)
        points_xy = centres[:, None, :] + points[rows].reshape(-1, POINTS, 2) * shift[:, None, :]
        return FaceRows(corners(centres + box[rows, :2] * shift, sizes), scores, points_xy)

    def _tables(self, outputs: Sequence[npt.NDArray[Any]], count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        tables = [as_rows(outputs[i], count) for i in self._order]
        found = [table for table in tables if table is not None]
        if len(found) != len(self._order):
            raise self.refusal(f"{count} rows, got {shapes_of(outputs)}")
        if len(found) == 1:
            split = np.split(found[0], [_BOX, _BOX + _CLASSES], axis=1)
            return split[0], split[1], split[2]
        return found[0], found[1], found[2]

    def _probabilities(self, classes: FloatArray) -> FloatArray:
        if not self._logits:
            return np.clip(classes[:, 1], 0, 1)
        logits = np.clip(classes, -_LARGEST_LOGIT, _LARGEST_LOGIT)
        difference = np.clip(logits[:, 0] - logits[:, 1], -80, 80)
        probabilities: FloatArray = np.float32(1) / (1 + np.exp(difference))
        return probabilities


def suggest(session: Session) -> Suggestion | None:
    """How to run a RetinaFace file; ``None`` for any other."""
    if len(session.outputs) not in (1, len((_BOX, _CLASSES, _POINTS))):
        return None
    return suggest_finder(
        RetinaFace,
        session,
        layout=f"RetinaFace: faces with 5 points, {len(session.outputs)} output(s)",
        configure={
            "score_threshold": 0.5,
            "threshold_nms": 0.4,
            "bgr2rgb": False,
            "mean": [104, 117, 123],
            "std": [1, 1, 1],
        },
        note="mean and colour order are those of the PyTorch original; another training may want others",
    )


@functools.lru_cache(maxsize=8)
def _priors(size_wh: tuple[int, int]) -> FloatArray:
    """Centre x, centre y, side, side in pixels of all priors of an input, (n, 4)."""
    rows = []
    for stride, sides in zip(STRIDES, _PRIOR_SIDES, strict=True):
        across, down = grid_cells(size_wh, stride)
        y, x, side = np.meshgrid(
            (np.arange(down) + 0.5) * stride, (np.arange(across) + 0.5) * stride, sides, indexing="ij"
        )
        rows.append(np.stack([x, y, side, side], axis=-1).reshape(-1, 4))
    priors = np.concatenate(rows).astype(np.float32)
    priors.flags.writeable = False
    return priors


FINDER = RetinaFace
