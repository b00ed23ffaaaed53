"""The cells of a yolo network's grids, and how what the network says of a cell becomes a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray

Anchors = tuple[tuple[tuple[float, float], ...], ...]
"""Width and height in pixels of each anchor of each grid, the finest grid first."""

Rows = npt.NDArray[np.intp]

_EXPONENT_MOST = 20.0
_LOGIT_MOST = 60.0
"""Beyond these nothing changes any more, but exp would overflow."""


def sigmoid(logits: FloatArray) -> FloatArray:
    """Numbers from 0 to 1."""
    bounded = np.clip(logits, -_LOGIT_MOST, _LOGIT_MOST)
    shares: FloatArray = np.reciprocal(1 + np.exp(-bounded)).astype(np.float32, copy=False)
    return shares


def strides_of(levels: int) -> tuple[int, ...]:
    """Pixels a cell: 8, 16, 32, and so on, for so many grids."""
    return tuple(8 << level for level in range(levels))


def grid_wh(size_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Cells across and down."""
    return size_wh[0] // stride, size_wh[1] // stride


@dataclass(frozen=True, slots=True)
class Cells:
    """Every anchor of every cell in the order of the official exports: grid, anchor, line, column.

    Attributes:
        corners_xy: (n, 2), the cell's top left in pixels of the input.
        strides: (n, 1), its sides in pixels.
        anchors_wh: (n, 2), pixels; the cell itself where there are no anchors.
    """

    corners_xy: FloatArray
    strides: FloatArray
    anchors_wh: FloatArray

    @classmethod
    def for_size(cls, size_wh: tuple[int, int], levels: int, anchors: Anchors | None) -> Cells:
        """The cells of ``levels`` grids over an input; ``anchors`` is ``None`` for one row a cell."""
        corners, strides, sides = [], [], []
        for level, stride in enumerate(strides_of(levels)):
            wide, high = grid_wh(size_wh, stride)
            columns, lines = np.meshgrid(np.arange(wide), np.arange(high))
            corner = np.stack([columns, lines], axis=-1).reshape(-1, 2) * stride
            for anchor in ((stride, stride),) if anchors is None else anchors[level]:
                corners.append(corner)
                strides.append(np.full((len(corner), 1), stride))
                sides.append(np.tile(np.array(anchor, dtype=np.float32), (len(corner), 1)))
        return cls(
            np.concatenate(corners).astype(np.float32),
            np.concatenate(strides).astype(np.float32),
            np.concatenate(sides).astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.strides)

    def boxes_by_anchor(self, shares_xywh: FloatArray, rows: Rows) -> FloatArray:
        """YOLOv5 and YOLOv7: numbers from 0 to 1 (n, 4) of the cells ``rows`` to centre and size (n, 4) in pixels."""
        centers = (shares_xywh[:, :2] * 2 - 0.5) * self.strides[rows] + self.corners_xy[rows]
        sizes = (shares_xywh[:, 2:] * 2) ** 2 * self.anchors_wh[rows]
        return np.concatenate([centers, sizes], axis=1)

    def boxes_by_exp(self, offsets_xywh: FloatArray, rows: Rows) -> FloatArray:
        """YOLOX: raw numbers (n, 4) of the cells ``rows`` to centre and size (n, 4) in pixels."""
        strides = self.strides[rows]
        centers = offsets_xywh[:, :2] * strides + self.corners_xy[rows]
        sizes = np.exp(np.minimum(offsets_xywh[:, 2:], _EXPONENT_MOST)) * strides
        return np.concatenate([centers, sizes], axis=1)

    def points(self, offsets: FloatArray, rows: Rows) -> FloatArray:
        """YOLOv5-face: raw x, y, x, y, … (n, 2k) of the cells ``rows`` to points (n, k, 2) in pixels."""
        pairs = offsets.reshape(len(offsets), offsets.shape[1] // 2, 2)
        return pairs * self.anchors_wh[rows][:, None] + self.corners_xy[rows][:, None]

    def share_near(self, centers_xy: FloatArray) -> float:
        """How many of (n, 2) points, one a row, lie where decoded centres do: within two cells of their own."""
        gap = np.abs(centers_xy - self.corners_xy - self.strides / 2)
        return float((gap <= 2 * self.strides).all(axis=1).mean())
