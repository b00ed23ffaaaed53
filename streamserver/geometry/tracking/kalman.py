"""A constant-velocity Kalman filter over many boxes at once.

The state of a box is (cx, cy, w, h) and the change of each per processed frame: eight numbers. The motion model ties
each number only to its own change, and start, process and measurement noise are independent, so the 8 x 8 covariance
always stays four 2 x 2 blocks. They are kept as three arrays and updated with plain arithmetic, no matrix inverse.

Noise is proportional to the size of the box: positions are good to 1/20 of its longer side, as is customary for
pedestrian tracking (Wojke et al. 2017, arXiv 1703.07402), and speeds change by 1/40 of it in a frame. The customary
1/160 suits 30 frames a second; of streams only 3 to 10 are looked at, where it costs twice the identity switches.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
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


@dataclass(slots=True)
class BoxMotion:
    """Where boxes are and how they move; row i of each array, shape (n, 4) for cx, cy, w, h, is the same box.

    Attributes:
        position: pixels.
        velocity: pixels per processed frame.
        position_variance: of ``position``.
        covariance: between ``position`` and ``velocity``.
        velocity_variance: of ``velocity``.
    """

    position: State
    velocity: State
    position_variance: State
    covariance: State
    velocity_variance: State

    @classmethod
    def start(cls, boxes_cxcywh: npt.ArrayLike) -> Self:
        """New boxes, standing still as far as anybody knows."""
        position = as_rows(boxes_cxcywh).astype(np.float64)
        size = _size(position)
        zeros = np.zeros_like(position)
        return cls(
            position=position,
            velocity=zeros,
            position_variance=zeros + (_START_POSITION_FACTOR * _POSITION_WEIGHT * size) ** 2,
            covariance=zeros.copy(),
            velocity_variance=zeros + (_START_VELOCITY_FACTOR * _VELOCITY_WEIGHT * size) ** 2,
        )

    def __len__(self) -> int:
        return len(self.position)

    def predict(self, *, unseen: npt.NDArray[np.bool_]) -> None:
        """Moves all boxes one frame ahead.

        Args:
            unseen: (n,) boxes that were not measured last time; they keep their size, which would otherwise run away
                (people who leave the picture shrink quickly just before).
        """
        self.velocity[unseen, 2:] = 0
        size = _size(self.position)
        self.position += self.velocity
        self.position_variance += 2 * self.covariance + self.velocity_variance + (_POSITION_WEIGHT * size) ** 2
        self.covariance += self.velocity_variance
        self.velocity_variance += (_VELOCITY_WEIGHT * size) ** 2

    def correct(self, rows: npt.NDArray[np.intp], boxes_cxcywh: npt.ArrayLike) -> None:
        """Takes in the measured boxes, shape (m, 4), of ``rows``, shape (m,)."""
        surprise = as_rows(boxes_cxcywh) - self.position[rows]
        noise = (_POSITION_WEIGHT * _size(self.position[rows])) ** 2
        total = self.position_variance[rows] + noise
        position_gain = self.position_variance[rows] / total
        velocity_gain = self.covariance[rows] / total
        self.position[rows] += position_gain * surprise
        self.velocity[rows] += velocity_gain * surprise
        self.velocity_variance[rows] -= velocity_gain * self.covariance[rows]
        self.covariance[rows] *= 1 - position_gain
        self.position_variance[rows] *= 1 - position_gain

    def select(self, rows: Rows) -> Self:
        """A copy of some rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def join(self, other: Self) -> Self:
        """These boxes and then the others."""
        return type(self)(*(np.vstack((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))


def _size(boxes_cxcywh: State) -> State:
    """The longer side of each box, (n, 1), at least one pixel."""
    longer: State = np.maximum(boxes_cxcywh[:, 2], boxes_cxcywh[:, 3])[:, None]
    return np.maximum(longer, 1.0)
