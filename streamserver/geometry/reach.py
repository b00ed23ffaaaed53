"""Somebody whom the picture's border cuts off, or only an arm that reaches in there?

Detectors take arms for people. An arm stays at the border at which it came in, and grows and shrinks there: one edge of
its box stands still. Somebody who walks gets away from that border or, where it cuts people off all along (their heads,
with a camera close above a door), moves along it, which is more than to grow: both edges move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BORDER_SHARE = 0.02
"""Of the frame's width or height: boxes of what is cut off end within that much of its border."""


@dataclass(slots=True)
class Reach:
    """What is known of one track.

    Attributes:
        first_xyxy: its box when it was first seen, in pixels.
        cut_off: whether the left, the upper and the right border has cut it off in every frame; people in front of a
            camera are often cut off by the lower one.
    """

    first_xyxy: tuple[float, ...]
    cut_off: tuple[bool, ...] = (True, True, True)

    @property
    def first_side_px(self) -> float:
        """The longer side of its first box."""
        left, top, right, bottom = self.first_xyxy
        return max(right - left, bottom - top)

    def may_be_arm(self, box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> bool:
        """Takes in its box in the next frame; True as long as it may be only an arm."""
        if not any(self.cut_off):
            return False
        left, top, right, _ = box_xyxy
        x_px, y_px = (_BORDER_SHARE * side for side in size_wh)
        now = (left <= x_px, top <= y_px, right >= size_wh[0] - x_px)
        moved = self._has_moved(box_xyxy)
        self.cut_off = tuple(before and still and not moved for before, still in zip(self.cut_off, now, strict=True))
        return any(self.cut_off)

    def _has_moved(self, box_xyxy: Sequence[float]) -> bool:
        """By more than its centre can when it grows or shrinks at a border: half of the larger size."""
        for low, high in ((0, 2), (1, 3)):
            ends, first_ends = (box_xyxy[low], box_xyxy[high]), (self.first_xyxy[low], self.first_xyxy[high])
            largest = max(ends[1] - ends[0], first_ends[1] - first_ends[0])
            if abs(sum(ends) - sum(first_ends)) > largest:
                return True
        return False
