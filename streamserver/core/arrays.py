"""Detections as parallel arrays: the one form in which boxes travel through the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
ImageBgr = npt.NDArray[np.uint8]
"""A picture of shape (height, width, 3), blue first."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one frame; row i of every array is the same object.

    Attributes:
        boxes_xyxy: float32 (n, 4), pixels of the full frame, right and bottom exclusive, not clipped.
        scores: float32 (n,), 0 to 1.
        class_ids: int64 (n,).
        track_ids: int64 (n,), 0 where no tracker has spoken.
        corners_xy: float32 (n, 4, 2), the corners of what the boxes hold, from its own top left in its reading
            direction (a number plate, a line of text); ``None`` from detectors that see only boxes.
        born_xyxy: float32 (n, 4), of an object whose track is told for the first time, where it was first seen (a
            tracker waits for a second look); NaN for all others, ``None`` where there are no new tracks.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray
    track_ids: IntArray
    corners_xy: FloatArray | None = None
    born_xyxy: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (n, 4) or not len(self.scores) == len(self.class_ids) == len(self.track_ids) == n:
            raise ValueError(
                f"expected arrays of one length n and boxes (n, 4), got {self.boxes_xyxy.shape}, "
                f"{self.scores.shape}, {self.class_ids.shape}, {self.track_ids.shape}"
            )
        if self.corners_xy is not None and self.corners_xy.shape != (n, 4, 2):
            raise ValueError(f"expected corners ({n}, 4, 2), got {self.corners_xy.shape}")
        if self.born_xyxy is not None and self.born_xyxy.shape != (n, 4):
            raise ValueError(f"expected births ({n}, 4), got {self.born_xyxy.shape}")

    @classmethod
    def empty(cls) -> Self:
        """Nothing found: zero rows with the right columns and types."""
        return cls.from_arrays(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    @classmethod
    def from_arrays(
        cls,
        boxes_xyxy: npt.ArrayLike,
        scores: npt.ArrayLike,
        class_ids: npt.ArrayLike,
        track_ids: npt.ArrayLike | None = None,
        corners_xy: npt.ArrayLike | None = None,
    ) -> Self:
        """Builds detections from anything array-like, with track ids 0 unless given."""
        boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
        ids = np.zeros(len(boxes), dtype=np.int64) if track_ids is None else np.asarray(track_ids, dtype=np.int64)
        corners = None if corners_xy is None else np.asarray(corners_xy, dtype=np.float32).reshape(-1, 4, 2)
        return cls(boxes, np.asarray(scores, dtype=np.float32), np.asarray(class_ids, dtype=np.int64), ids, corners)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @property
    def tracked(self) -> bool:
        """True if a tracker has given ids (an empty set counts as not tracked)."""
        return bool((self.track_ids > 0).any())

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | list[int]) -> Self:
        """The rows of a boolean mask or of an index array, in its order."""
        index = np.asarray(rows)
        if index.dtype != np.bool_:
            index = index.astype(np.intp)
        return type(self)(
            self.boxes_xyxy[index],
            self.scores[index],
            self.class_ids[index],
            self.track_ids[index],
            None if self.corners_xy is None else self.corners_xy[index],
            None if self.born_xyxy is None else self.born_xyxy[index],
        )
