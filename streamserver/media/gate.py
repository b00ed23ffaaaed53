"""The motion gate: whether something moves in a camera's picture, told from brightness and from the sizes of packets.

Nothing here decodes: ``gated`` asks, and lets key frames only through while nothing moves.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.polygons import distances_to_polygon
from streamserver.media.connection import Luma

HOLD_S = 10.0
"""How long everything is decoded after the last motion; trackers have forgotten who was there by then."""

_Grid = npt.NDArray[np.float32]
_Region = npt.NDArray[np.bool_]

_SURROUNDINGS = 0.12
"""How far around an area or a line motion counts, as a share of the picture's longer side: whoever comes is to be seen
before he is there, and a tracker wants to have seen him twice."""

_CONTRAST = 10.0
"""Levels by which brightness, averaged over 3 by 3 points, has to differ from the background's."""

_DEVIATIONS, _NOISES = 6.0, 8.0
_MOST_CONTRAST = 24.0
"""Where the background is restless (leaves, water, pumping of key frames), the difference has to be so many times what
is usual there, and at night so many times the sensor's noise (its median over the picture), but never more than the
second figure, or a busy place would hide what moves in it."""

_LEAST_POINTS = 3
_FLOOD = 0.4
"""When more of the picture has changed than this, a light was switched or the camera turned: all is learned anew."""

_QUIET_RATE, _MOVING_RATE = 0.25, 0.1
"""How much of a picture the background takes over: of a key frame at rest, and of a look at a moving scene."""

_RESTLESS_RATE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What the gate is to watch.

    Attributes:
        hold_s: how long everything is decoded after the last motion.
        areas: polygons, and lines of two points, in pixels of the picture; none for the whole picture.
    """

    hold_s: float = HOLD_S
    areas: tuple[tuple[tuple[float, float], ...], ...] = ()


class MotionWatch:
    """Compares pictures with a background that follows them slowly. One for each stream, not for several threads.

    A brightness that changes everywhere alike is no motion; a picture of another size is. The first picture of all is
    the background.

    Args:
        areas: see ``GateSpec``.
        grid: how many pixels of the picture lie between two points of the brightness that is looked at.
    """

    def __init__(self, areas: Sequence[Sequence[tuple[float, float]]] = (), *, grid: int = 8) -> None:
        self._areas = areas
        self._pitch = grid
        self._background = self._usual = np.zeros((0, 0), np.float32)
        self._region = np.zeros((0, 0), np.bool_)

    def moves(self, luma: Luma, *, at_rest: bool, learn: bool = True) -> bool:
        """Whether something moves in a picture.

        Args:
            luma: its brightness, shape (height, width), at the grid's points.
            at_rest: the picture before was a key frame ago; False while every picture is decoded.
            learn: the background follows the picture.
        """
        now = _smoothed(luma)
        if self._background.shape != now.shape:
            first = not self._background.size
            self._start(now)
            return not first
        apart = now - self._background
        shift = float(np.median(apart[::2, ::2]))
        differs = np.abs(apart - shift)
        noise = float(np.median(differs[::2, ::2]))
        least = np.clip(np.maximum(_DEVIATIONS * self._usual, _NOISES * noise), _CONTRAST, _MOST_CONTRAST)
        hot: _Region = differs > least
        flooded = bool(np.count_nonzero(differs > _CONTRAST) > _FLOOD * differs.size)
        moving = flooded or int(np.count_nonzero(hot & self._region)) >= _LEAST_POINTS
        if learn and flooded:
            self._start(now)
        elif learn:
            self._background += (_QUIET_RATE if at_rest and not moving else _MOVING_RATE) * apart
            self._usual += _RESTLESS_RATE * (np.minimum(differs, 2 * _MOST_CONTRAST) - self._usual)
        return moving

    def _start(self, now: _Grid) -> None:
        self._background, self._usual = now, np.zeros_like(now)
        self._region = region_of(self._areas, now.shape, pitch=self._pitch)


def region_of(areas: Sequence[Sequence[tuple[float, float]]], shape_hw: tuple[int, ...], *, pitch: int) -> _Region:
    """The grid's points, shape ``shape_hw``, that lie in an area or in its surroundings; all where there is none.

    Args:
        areas: polygons and lines in pixels of the picture.
        shape_hw: rows and columns of the grid.
        pitch: pixels from one point to the next.
    """
    if not areas:
        return np.ones(shape_hw, np.bool_)
    rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]]
    points_xy = np.stack([columns.ravel(), rows.ravel()], axis=1) * float(pitch)
    margin_px = _SURROUNDINGS * pitch * max(shape_hw)
    near = [distances_to_polygon(points_xy, np.array(area, np.float64)) <= margin_px for area in areas]
    region: _Region = np.logical_or.reduce(near).reshape(shape_hw)
    return region


def _smoothed(luma: Luma) -> _Grid:
    """Each point averaged with its eight neighbours, so that a sensor's noise is a third of what it was."""
    padded = np.pad(luma.astype(np.float32), 1, mode="edge")
    lines = padded[:-2] + padded[1:-1] + padded[2:]
    smooth: _Grid = (lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]) / np.float32(9)
    return smooth


_WINDOW = 4
"""Packets whose sizes are added up: a single one may be large for the encoder's own reasons."""

_REMEMBERED = 400
_LEAST_KNOWN = 40
_USUAL_SHARE = 0.98
_LARGER, _LARGER_BYTES = 1.3, 400
"""Suspicious is what is so much larger than nearly all before. Encoders that keep a rate give some pictures of each
group more bytes: that is usual then."""


class SizeWatch:
    """Suspects motion between key frames: pictures in which something moves take more bytes.

    It is only a suspicion, for rain and an encoder that changes its mind take more bytes as well: whoever asks looks
    at the pictures then, and says when there was ``nothing``. At most one in each group of pictures.
    """

    def __init__(self) -> None:
        self._usual: deque[int] = deque(maxlen=_REMEMBERED)
        self._unusual: list[int] = []
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._limit = math.inf
        self._asked = False

    def suspicious(self, size: int) -> bool:
        """Takes the size of the next packet between two key frames; True if the last ones were unusually large."""
        self._recent.append(size)
        if len(self._recent) < _WINDOW:
            return False
        total = sum(self._recent)
        if total <= self._limit:
            self._usual.append(total)
            return False
        self._unusual.append(total)
        asked, self._asked = self._asked, True
        return not asked

    def nothing(self) -> None:
        """The pictures show that nothing has moved: such sizes are usual."""
        self._usual.extend(self._unusual)
        self._unusual.clear()

    def key_frame(self) -> None:
        """A key frame has come: another run of packets follows."""
        self._recent.clear()
        self._unusual.clear()
        self._asked = False
        if len(self._usual) >= _LEAST_KNOWN:
            usual = sorted(self._usual)[int(_USUAL_SHARE * (len(self._usual) - 1))]
            self._limit = _LARGER * usual + _LARGER_BYTES
