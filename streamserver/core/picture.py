"""A frame's pixels, as the decoder made them and, once somebody asks, in BGR."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr

Plane = npt.NDArray[np.uint8]
"""Brightness, or one of the two colour differences, of shape (height, width)."""

Coding = Literal["bt601", "bt709", "bt2020"]

_SHARES: dict[Coding, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""How much of brightness is red, and how much is blue (ITU-R BT.601, BT.709 and BT.2020)."""


@final
@dataclass(frozen=True, slots=True)
class Planes:
    """A picture in 8-bit 4:2:0: views of the decoder's own memory, which they keep; nobody writes into them.

    Attributes:
        y: (height, width), brightness.
        u: (half the height, half the width), rounded up: how blue.
        v: of the same shape: how red.
        full_range: black is 0 and white 255; otherwise 16 and 235.
        coding: what the colours mean.
    """

    y: Plane
    u: Plane
    v: Plane
    full_range: bool = False
    coding: Coding = "bt601"

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def cut(self, left: int, top: int, width: int, height: int) -> Planes:
        """A part, also views; what lies outside is left out. Its colours are up to a pixel off where it begins odd."""
        right, bottom = left + width, top + height
        colours = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
        return Planes(self.y[top:bottom, left:right], self.u[colours], self.v[colours], self.full_range, self.coding)

    def bgr_matrix(self) -> FloatArray:
        """(3, 4): blue, green and red (0 to 255) of a pixel are its product with (y, u, v, 1)."""
        red, blue = _SHARES[self.coding]
        green = 1 - red - blue
        gain, spread, black = (1.0, 1.0, 0) if self.full_range else (255 / 219, 255 / 224, 16)
        from_u, from_v = 2 * (1 - blue) * spread, 2 * (1 - red) * spread
        rows = [(from_u, 0.0), (-from_u * blue / green, -from_v * red / green), (0.0, from_v)]
        return np.array([(gain, u, v, -gain * black - 128 * (u + v)) for u, v in rows], dtype=np.float32)


Pixels = Planes | ImageBgr
"""What networks that scale the whole picture down look at: the decoder's planes where there are some, else BGR."""


def size_wh_of(pixels: Pixels) -> tuple[int, int]:
    """Width and height in pixels."""
    return pixels.size_wh if isinstance(pixels, Planes) else (pixels.shape[1], pixels.shape[0])


class Picture:
    """A frame's pixels: planes as the decoder made them, and BGR made when somebody first asks and kept from then on.

    Several graphs may look at one picture, so the first question is asked under a lock.

    Args:
        size_wh: width and height in pixels.
        load_bgr: makes the array of shape (height, width, 3); called at most once and dropped afterwards, with
            whatever it holds (the decoder's own frame).
        load_planes: gives the planes, ``None`` for a picture that is not 8-bit 4:2:0; called each time.
        part_of: the picture that ``load_bgr`` cuts this one from; given up together with this one.
    """

    def __init__(
        self,
        size_wh: tuple[int, int],
        load_bgr: Callable[[], ImageBgr],
        *,
        load_planes: Callable[[], Planes | None] | None = None,
        part_of: Picture | None = None,
    ) -> None:
        self.size_wh = size_wh
        self._load_bgr: Callable[[], ImageBgr] | None = load_bgr
        self._load_planes = load_planes
        self._part_of = part_of
        self._bgr: ImageBgr | None = None
        self._lock = threading.Lock()

    @property
    def bgr(self) -> ImageBgr:
        """The pixels; shared by all who ask, so nobody writes into them.

        Raises:
            RuntimeError: the picture was given up.
        """
        with self._lock:
            if self._bgr is None:
                if self._load_bgr is None:
                    raise RuntimeError("the pixels of a picture were asked for after it was given up")
                self._bgr = self._load_bgr()
                self._load_bgr = None
            return self._bgr

    @property
    def planes(self) -> Planes | None:
        """The pixels as the decoder made them, without a copy; ``None`` where there are only those of ``bgr``."""
        load_planes = self._load_planes
        return None if load_planes is None else load_planes()

    @property
    def pixels(self) -> Pixels:
        """The planes where there are some, else BGR; raises as ``bgr`` does."""
        planes = self.planes
        return self.bgr if planes is None else planes

    @property
    def given_up(self) -> bool:
        """Nobody will ask for the pixels."""
        return self._load_bgr is None and self._bgr is None

    def give_up(self) -> None:
        """Says that nobody will ask for the pixels: a decoder that must convert before it goes on need not."""
        with self._lock:
            self._load_bgr = self._load_planes = None
        if self._part_of is not None:
            self._part_of.give_up()
