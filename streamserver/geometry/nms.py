"""Non-maximum suppression: of boxes that show the same thing, the one with the best score stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import as_rows, iou_matrix

_DENSE_LIMIT = 1000


def nms(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_ids: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Greedy suppression: takes boxes by descending score and drops those that overlap a taken one too much.

    Args:
        boxes_xyxy: (n, 4) pixels.
        scores: (n,).
        iou_threshold: a box goes when its overlap (intersection over union) with a better one is *above* this.
        class_ids: (n,); with it only boxes of one class suppress each other, without it all do.

    Returns:
        Row numbers of the boxes that stay, by descending score; equal scores keep the order of the input.
    """
    boxes, values = as_rows(boxes_xyxy), np.asarray(scores)
    classes = None if class_ids is None else np.asarray(class_ids)
    if values.shape != (len(boxes),) or (classes is not None and classes.shape != (len(boxes),)):
        raise ValueError(f"expected one score and one class for each of {len(boxes)} boxes, got {values.shape}")
    order = np.argsort(-values, kind="stable")
    if len(boxes) <= _DENSE_LIMIT:
        return _suppress_dense(boxes, order, classes, iou_threshold)
    return _suppress_rowwise(boxes, order, classes, iou_threshold)


def _suppress_dense(
    boxes: npt.NDArray[np.floating],
    order: npt.NDArray[np.intp],
    classes: npt.NDArray[np.generic] | None,
    iou_threshold: float,
) -> npt.NDArray[np.intp]:
    """All overlaps in one go: fastest for the few hundred boxes that a detector leaves."""
    ranked = boxes[order]
    conflict = iou_matrix(ranked, ranked) > iou_threshold
    if classes is not None:
        ordered = classes[order]
        conflict &= ordered[:, None] == ordered[None, :]
    free = np.logical_not(conflict, out=conflict)
    alive = np.ones(len(order), dtype=np.bool_)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= free[i, i + 1 :]
    return order[alive]


def _suppress_rowwise(
    boxes: npt.NDArray[np.floating],
    order: npt.NDArray[np.intp],
    classes: npt.NDArray[np.generic] | None,
    iou_threshold: float,
) -> npt.NDArray[np.intp]:
    """One row of overlaps at a time: memory stays linear in the number of boxes."""
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        conflict = iou_matrix(boxes[best : best + 1], boxes[rest])[0] > iou_threshold
        if classes is not None:
            conflict &= classes[rest] == classes[best]
        order = rest[~conflict]
    return np.asarray(kept, dtype=np.intp)
