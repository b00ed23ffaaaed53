"""Which way tracks move, from two samples of their centres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import center_points
from streamserver.geometry.lines import PointXy

_MIN_MOVE_PX = 2.0
_MIN_MOVE_SHARE = 0.02
_FORGET_AFTER_INTERVALS = 20


@dataclass(slots=True)
class _Sample:
    center_xy: PointXy
    sampled_step: int
    last_step: int
    along: bool = False


class Heading:
    """Tells which tracks move along an arrow.

    Each track's centre is sampled every ``interval`` processed frames. Between samples the last finding holds; before
    the second sample, and for a track that stands still (moved less than 2 px and 2 % of its height along the arrow),
    it is no. A track unseen for 20 intervals is forgotten.
    """

    def __init__(self, direction_xy: PointXy, *, interval: int) -> None:
        self._direction = np.asarray(direction_xy, dtype=np.float64) / np.hypot(*direction_xy)
        self._interval = max(1, interval)
        self._samples: dict[int, _Sample] = {}

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._samples)

    def reset(self) -> None:
        """Forgets all tracks."""
        self._samples.clear()

    def update(self, step: int, track_ids: npt.NDArray[np.int64], boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Takes the tracks of processed frame ``step``, (n,) and (n, 4); tells which move along, (n,)."""
        self._forget(step)
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        heights = (boxes[:, 3] - boxes[:, 1]).tolist()
        rows = zip(track_ids.tolist(), center_points(boxes).tolist(), heights, strict=True)
        return np.array([self._follow(i, step, (x, y), height) for i, (x, y), height in rows], dtype=np.bool_)

    def _follow(self, track_id: int, step: int, center_xy: PointXy, height: float) -> bool:
        if track_id <= 0:
            return False
        sample = self._samples.setdefault(track_id, _Sample(center_xy, step, step))
        sample.last_step = step
        if step - sample.sampled_step >= self._interval:
            moved = float(np.subtract(center_xy, sample.center_xy) @ self._direction)
            sample.along = moved >= max(_MIN_MOVE_PX, _MIN_MOVE_SHARE * height)
            sample.center_xy, sample.sampled_step = center_xy, step
        return sample.along

    def _forget(self, step: int) -> None:
        longest = _FORGET_AFTER_INTERVALS * self._interval
        gone = [key for key, sample in self._samples.items() if step - sample.last_step > longest]
        for key in gone:
            del self._samples[key]
