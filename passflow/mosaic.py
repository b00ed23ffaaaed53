"""Hides people in pictures, so that nobody can be recognised."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import ImageBgr
from streamserver.geometry.boxes import iou_matrix

LEAST_SCORE = 0.1
"""What the detector sees so weakly is not counted, but hidden."""

MEMORY_FRAMES = 10
"""For so many frames after one in which somebody was found, the place stays hidden: detectors blink."""

LOOKAHEAD_FRAMES = 4
"""A picture waits for so many frames, or for the next that is looked at: who is found then was there before."""

_MARGIN = 0.1
_MARGIN_A_FRAME = 0.03
"""Of a box's longer side, on each of its sides; the second for each frame between the finding and the picture."""

_SAME_IOU = 0.3
"""Who is found there in the next frame is the one from before."""

_CELLS_ACROSS, _CELLS_ALONG = 6, 12
"""Cells of the mosaic over the shorter and the longer side of a person: a face has three or four across."""

_LEAST_CELL_PX = 6

Boxes = npt.NDArray[np.float32]


class Sightings:
    """Where people were found in the frames around one; forgets what is older than ``MEMORY_FRAMES``."""

    def __init__(self) -> None:
        self._found: dict[int, Boxes] = {}

    def add(self, frame_num: int, boxes_xyxy: Boxes) -> None:
        """Takes the people, (n, 4), of a frame that was looked at; frames come in order."""
        self._found[frame_num] = boxes_xyxy

    def around(self, frame_num: int, *, interval: int) -> Boxes:
        """What has to be hidden in a frame, (n, 4) with margins; asked for in order.

        That is who was found in it, and who was found before or after and then not any more: the place of each grows
        from frame to frame. Of every ``interval``-th frame that is looked at, at least one before and after counts.
        """
        reach = max(MEMORY_FRAMES, interval)
        self._found = {num: boxes for num, boxes in self._found.items() if num >= frame_num - reach}
        nums = sorted(self._found)
        before = self._followed([num for num in nums if num <= frame_num], frame_num)
        after = self._followed([num for num in reversed(nums) if num >= frame_num], frame_num)
        return np.concatenate((before, after))

    def _followed(self, nums: list[int], frame_num: int) -> Boxes:
        """The places of the last of some frames, and those of earlier ones that nobody has taken over since."""
        places, at = np.zeros((0, 4), dtype=np.float32), np.zeros(0)
        for num in nums:
            found = self._found[num]
            lost = ~(iou_matrix(places, found) > _SAME_IOU).any(axis=1)
            places = np.concatenate((found, places[lost]))
            at = np.concatenate((np.full(len(found), num), at[lost]))
        return _grown(places, _MARGIN + _MARGIN_A_FRAME * np.abs(at - frame_num))


def hide(image_bgr: ImageBgr, boxes_xyxy: Boxes) -> ImageBgr:
    """A copy of the picture in which each box, (n, 4), is a coarse mosaic; where boxes overlap the coarser one wins."""
    hidden = image_bgr.copy()
    height, width = image_bgr.shape[:2]
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    cells = np.maximum(sides.min(axis=1, initial=np.inf) / _CELLS_ACROSS, sides.max(axis=1, initial=0) / _CELLS_ALONG)
    for row in np.argsort(cells):
        left, top = np.floor(np.clip(boxes_xyxy[row, :2], 0, (width, height))).astype(int)
        right, bottom = np.ceil(np.clip(boxes_xyxy[row, 2:], 0, (width, height))).astype(int)
        if left < right and top < bottom:
            part = image_bgr[top:bottom, left:right]
            hidden[top:bottom, left:right] = _coarse(part, max(_LEAST_CELL_PX, float(cells[row])))
    return hidden


def _coarse(part: ImageBgr, cell_px: float) -> npt.NDArray[np.uint8]:
    height, width = part.shape[:2]
    few = max(1, round(width / cell_px)), max(1, round(height / cell_px))
    small = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _grown(boxes_xyxy: Boxes, shares: npt.NDArray[np.float64]) -> Boxes:
    """Boxes with a margin of a share of their longer side, (n,)."""
    margins = shares * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, initial=0)
    return boxes_xyxy + np.outer(margins, (-1, -1, 1, 1)).astype(np.float32)
