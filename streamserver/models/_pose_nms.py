"""Of several poses of one person, makes one (Fang et al., "RMPE: Regional Multi-Person Pose Estimation", 2017).

The numbers are those of AlphaPose (https://github.com/MVIG-SJTU/AlphaPose), which sophon-stream's fastpose uses too. Of
networks for the whole body, with face and hands, the points of the body decide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray

MIN_BEST_SCORE = 0.3
"""A pose none of whose points reaches this is none."""

_DISTANCE_WEIGHT = 1.7
_DISTANCE_SCALE_PX = 2.65
_MAX_SIMILARITY = 22.48
_MAX_MATCHES = 5
_BOX_SHARE = 0.1
"""Points match within this share of the box's longer side, ``_MATCH_PX`` at most, and are merged within it,
``_MERGE_PX`` at most."""
_MATCH_PX = 7.0
_MERGE_PX = 15.0
_SAME_PX = 1.0
_MARGIN = 1.5
"""A person's width and height by those of the key points."""
_BODY_POINTS = {133: 23, 136: 26}
"""How many points of a whole body are not of the face or a hand; they come first."""


def merge_poses(
    points_xy: FloatArray, scores: FloatArray, sides_px: FloatArray, *, min_area: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Keeps the best of poses that are alike, each point being the mean of theirs, weighted by score.

    Args:
        points_xy: (n, k, 2) in pixels.
        scores: (n, k).
        sides_px: (n,), the longer side of each person's box.
        min_area: a pose whose points take less room, with a margin, in square pixels, is dropped.

    Returns:
        points and scores as they came in, merged where a pose stands for others, and (n,), true where it stays.
    """
    points_xy, scores = points_xy.copy(), scores.copy()
    body = _BODY_POINTS.get(points_xy.shape[1], points_xy.shape[1])
    certainty = scores.mean(axis=1)
    stays = np.zeros(len(points_xy), dtype=np.bool_)
    left = np.arange(len(points_xy))
    while len(left):
        best = left[np.argmax(certainty[left])]
        distances = np.linalg.norm(points_xy[left] - points_xy[best], axis=2)
        reach = _BOX_SHARE * float(sides_px[best])
        alike = _alike(distances[:, :body], scores[left, :body], scores[best, :body], min(reach, _MATCH_PX))
        alike |= left == best
        if scores[best].max() >= MIN_BEST_SCORE:
            group = left[alike]
            merged = _merge(points_xy[group], scores[group], distances[alike] <= min(reach, _MERGE_PX))
            points_xy[best], scores[best] = merged
            room = np.ptp(points_xy[best], axis=0).prod() * _MARGIN**2
            stays[best] = scores[best].max() >= MIN_BEST_SCORE and room >= min_area
        left = left[~alike]
    return points_xy, scores, stays


def _alike(
    distances: FloatArray, scores: FloatArray, best_scores: FloatArray, reach_px: float
) -> npt.NDArray[np.bool_]:
    """(n,), true for poses so near to the best that they are the same person's; the arrays are (n, k) and (k,)."""
    sure = np.tanh(best_scores) * np.tanh(scores)
    nearness = np.where(distances <= _SAME_PX, sure, 0) + _DISTANCE_WEIGHT * np.exp(-distances / _DISTANCE_SCALE_PX)
    alike: npt.NDArray[np.bool_] = nearness.sum(axis=1) > _MAX_SIMILARITY
    alike |= (distances <= reach_px).sum(axis=1) >= _MAX_MATCHES
    return alike


def _merge(points_xy: FloatArray, scores: FloatArray, near: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """The weighted mean (k, 2) and (k,) of poses (n, k, 2), (n, k), where ``near`` (n, k) says which points count."""
    weights = np.maximum(scores, np.finfo(np.float32).tiny) * near
    weights /= weights.sum(axis=0)
    return (weights[:, :, None] * points_xy).sum(axis=0), (weights * scores).sum(axis=0)
