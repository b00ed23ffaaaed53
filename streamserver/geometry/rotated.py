"""Boxes that may be turned: rows of centre x, centre y, width, height, angle in radians from the x axis towards y."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import as_rows

_COLUMNS = 5
_LEAST_SIDE_PX = 1e-3
"""A side below this counts as this: a box without area has no Gaussian."""


def prob_iou_matrix(first_cxcywhr: npt.ArrayLike, second_cxcywhr: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How much turned boxes overlap when each is seen as a Gaussian, shape (n, m), 0 to 1.

    1 less the Hellinger distance (ProbIoU, Llerena et al., https://arxiv.org/abs/2106.06072). Of turned squares it
    sees only place and size.
    """
    first, second = (as_rows(boxes, _COLUMNS).astype(np.float64) for boxes in (first_cxcywhr, second_cxcywhr))
    (xx1, yy1, xy1), (xx2, yy2, xy2) = _covariances(first), _covariances(second)
    xx, yy, xy = (a[:, None] + b[None, :] for a, b in ((xx1, xx2), (yy1, yy2), (xy1, xy2)))
    dx, dy = (first[:, None, axis] - second[None, :, axis] for axis in (0, 1))
    determinant = xx * yy - xy**2
    distance = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / (4 * determinant)
    own = np.sqrt((xx1 * yy1 - xy1**2)[:, None] * (xx2 * yy2 - xy2**2)[None, :])
    spread = np.log(np.maximum(determinant / (4 * own), 1.0)) / 2
    overlaps: npt.NDArray[np.float64] = 1 - np.sqrt(-np.expm1(-(distance + spread)))
    return overlaps


def rotated_nms(
    boxes_cxcywhr: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_ids: npt.ArrayLike | None = None,
    most: int | None = None,
) -> npt.NDArray[np.intp]:
    """Greedy suppression of turned boxes by ``prob_iou_matrix``; otherwise as ``nms.nms``.

    Args:
        boxes_cxcywhr: (n, 5).
        scores: (n,).
        iou_threshold: a box goes when its overlap with a better one is *above* this.
        class_ids: (n,); with it only boxes of one class suppress each other.
        most: how many boxes stay at most.

    Returns:
        Row numbers of the boxes that stay, by descending score; equal scores keep the order of the input.
    """
    boxes, values = as_rows(boxes_cxcywhr, _COLUMNS), np.asarray(scores)
    classes = np.zeros(len(boxes)) if class_ids is None else np.asarray(class_ids)
    if not values.shape == classes.shape == (len(boxes),):
        raise ValueError(f"expected one score and one class for each of {len(boxes)} boxes, got {values.shape}")
    order = np.argsort(-values, kind="stable")
    kept: list[int] = []
    while len(order) and (most is None or len(kept) < most):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        conflict = prob_iou_matrix(boxes[best : best + 1], boxes[rest])[0] > iou_threshold
        order = rest[~(conflict & (classes[rest] == classes[best]))]
    return np.asarray(kept, dtype=np.intp)


def _covariances(
    boxes: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the Gaussians: variance along x, along y, and covariance; each (n,)."""
    along, across = (np.maximum(boxes[:, side], _LEAST_SIDE_PX) ** 2 / 12 for side in (2, 3))
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return along * cos**2 + across * sin**2, along * sin**2 + across * cos**2, (along - across) * cos * sin
