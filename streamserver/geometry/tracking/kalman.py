"""A constant-velocity Kalman filter over many boxes at once.

The state of a box is (cx, cy, w, h) and the change of each per processed frame: eight numbers. The motion model ties
each number only to its own change, and start, process and measurement noise are independent, so the 8 x 8 covariance
always stays four 2 x 2 blocks. They are kept as three arrays and updated with plain arithmetic, no matrix inverse.

Noise is proportional to the size of the box: positions are good to 1/20 of its longer side, as is customary for
pedestrian tracking (Wojke et al. 2017, arXiv 1703.07402), and speeds change by 1/40 of it in a frame. The customary
1/160 suits 30 frames a second; of streams only 3 to 10 are looked at, where it costs twice the identity switches.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import as_rows

_POSITION_WEIGHT = 1 / 20
_VELOCITY_WEIGHT = 1 / 40
_START_POSITION_FACTOR = 2
_START_VELOCITY_FACTOR = 10

Rows = npt.NDArray[np.intp] | npt.NDArray[np.bool_]
State = npt.NDArray[np.float64]


class BoxMotion:
    """Where boxes are and how they move; row i of each array, shape (n, 4) for cx, cy, w, h, is the same box.

    Args:
        state: the arrays below on top of each other, (5, n, 4).

    Attributes:
        position: pixels.
        velocity: pixels per processed frame.
        position_variance: of ``position``.
        covariance: between ``position`` and ``velocity``.
        velocity_variance: of ``velocity``.
    """

    __slots__ = ("_state", "covariance", "position", "position_variance", "velocity", "velocity_variance")

    def __init__(self, state: State) -> None:
        self._state = state
        self.position, self.velocity, self.position_variance, self.covariance, self.velocity_variance = state

    @classmethod
    def start(cls, boxes_cxcywh: npt.ArrayLike) -> Self:
        """New boxes, standing still as far as anybody knows."""
        position = as_rows(boxes_cxcywh)
        size = _size(position.astype(np.float64, copy=False))
        state = np.zeros((5, *position.shape))
        state[0] = position
        state[2] = (_START_POSITION_FACTOR * _POSITION_WEIGHT * size) ** 2
        state[4] = (_START_VELOCITY_FACTOR * _VELOCITY_WEIGHT * size) ** 2
        return cls(state)

    def __len__(self) -> int:
        return len(self.position)

    def predict(self, *, unseen: npt.NDArray[np.bool_]) -> None:
        """Moves all boxes one frame ahead.

        Args:
            unseen: (n,) boxes that were not measured last time; they keep their size, which would otherwise run away
                (people who leave the picture shrink quickly just before).
        """
        if unseen.any():
            self.velocity[unseen, 2:] = 0
        size = _size(self.position)
        self.position += self.velocity
        self.position_variance += 2 * self.covariance + self.velocity_variance + (_POSITION_WEIGHT * size) ** 2
        self.covariance += self.velocity_variance
        self.velocity_variance += (_VELOCITY_WEIGHT * size) ** 2

    def correct(self, rows: npt.NDArray[np.intp], boxes_cxcywh: npt.ArrayLike) -> None:
        """Takes in the measured boxes, shape (m, 4), of ``rows``, shape (m,)."""
        known = self._state[:, rows]
        position, _, position_variance, covariance, _ = known
        surprise = as_rows(boxes_cxcywh) - position
        total = position_variance + (_POSITION_WEIGHT * _size(position)) ** 2
        gains = known[2:4] / total
        known[:2] += gains * surprise
        known[4] -= gains[1] * covariance
        known[2:4] *= 1 - gains[0]
        self._state[:, rows] = known

    def select(self, rows: Rows) -> Self:
        """A copy of some rows."""
        return type(self)(self._state[:, rows])

    def join(self, other: Self) -> Self:
        """These boxes and then the others."""
        return type(self)(np.concatenate((self._state, other._state), axis=1))


def _size(boxes_cxcywh: State) -> State:
    """The longer side of each box, (n, 1), at least one pixel."""
    longer: State = np.maximum(boxes_cxcywh[:, 2:3], boxes_cxcywh[:, 3:])
    return np.maximum(longer, 1.0, out=longer)
