"""A network that sees each picture letterboxed and normalised: what comes before all yolo families."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError
from streamserver.core.picture import Pixels
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import Session
from streamserver.vision.letterbox import Anchor, Letterbox, LetterboxMap

DEFAULT_SIDE = 640
"""Width and height where the file leaves them free."""

_GREY = 114


class _Buffers(threading.local):
    """The canvas and the network's input, one set a thread, used again for every picture."""

    def __init__(self, shape: tuple[int, int, int, int], pad: int, anchor: Anchor, max_scale: float) -> None:
        self.letterbox = Letterbox((shape[3], shape[2]), pad=pad, anchor=anchor, max_scale=max_scale)
        self.blob: FloatArray = np.empty(shape, dtype=np.float32)
        self.covered: list[tuple[int, int, int, int] | None] = [None] * shape[0]


class LetterboxedNetwork:
    """A network for colour pictures; may be shared between threads.

    Args:
        session: the loaded file.
        normalisation: what the network wants to see. A network that takes whole numbers (uint8, int8) brings its own
            scale: for it only the order of the channels counts.
        pad: grey value around the picture.
        anchor: where the picture lies.
        enlarge: whether a picture smaller than the input is scaled up to fill it.
        default_size_wh: used for sides that the file leaves free.

    Attributes:
        batch_size: pictures that one run is worth giving.

    Raises:
        ModelError: the file does not take colour pictures.
    """

    def __init__(
        self,
        session: Session,
        *,
        normalisation: Normalisation,
        pad: int = _GREY,
        anchor: Anchor = "center",
        enlarge: bool = True,
        default_size_wh: tuple[int, int] = (DEFAULT_SIDE, DEFAULT_SIDE),
    ) -> None:
        self.network = PictureNetwork(session, default_size_wh=default_size_wh)
        if self.network.input.channels != 3:
            raise ModelError(f"'{session.name}' takes grey pictures, expected three channels")
        self._normalisation = self.network.input.takes(normalisation)
        self.batch_size = self.network.proven_batch()
        shape = (self.batch_size, 3, self.size_wh[1], self.size_wh[0])
        self._buffers = _Buffers(shape, pad, anchor, math.inf if enlarge else 1.0)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.network.name

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the input in pixels."""
        return self.network.size_wh

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolox_nano.onnx on CPUExecutionProvider``."""
        return self.network.description

    def prepare(self, pixels: Pixels) -> tuple[FloatArray, LetterboxMap]:
        """The network's input (1, 3, H, W), valid until this thread's next call, and where the picture is in it."""
        return self._buffers.blob[:1], self._fill(0, pixels)

    def look(self, pictures: Sequence[Pixels]) -> list[tuple[list[npt.NDArray[Any]], LetterboxMap]]:
        """Runs the network on pictures, ``batch_size`` at a time.

        Returns:
            for each picture its outputs, as ``run`` gives them for it alone, and where it was in the input.
        """
        if self.batch_size == 1:
            return [self._look_at(pixels) for pixels in pictures]
        found: list[tuple[list[npt.NDArray[Any]], LetterboxMap]] = []
        for start in range(0, len(pictures), self.batch_size):
            some = pictures[start : start + self.batch_size]
            blob = self._buffers.blob[: len(some)]
            mappings = [self._fill(row, pixels) for row, pixels in enumerate(some)]
            outputs = self.run(blob)
            found += [([each[i : i + 1] for each in outputs], mapping) for i, mapping in enumerate(mappings)]
        return found

    def _look_at(self, pixels: Pixels) -> tuple[list[npt.NDArray[Any]], LetterboxMap]:
        blob, mapping = self.prepare(pixels)
        return self.run(blob), mapping

    def _fill(self, row: int, pixels: Pixels) -> LetterboxMap:
        """Writes a picture into one row of the input, (3, H, W); the padding only where it was not there before."""
        buffers = self._buffers
        canvas, mapping = buffers.letterbox(pixels)
        place, covered = buffers.blob[row], buffers.letterbox.covered
        if covered is not None and covered == buffers.covered[row]:
            left, top, width, height = covered
            inside = slice(top, top + height), slice(left, left + width)
            place, canvas = place[:, *inside], canvas[inside]
        buffers.covered[row] = covered
        self._normalisation.fill(place, canvas)
        return mapping

    def run(self, blob: FloatArray) -> list[npt.NDArray[Any]]:
        """Runs the network on (n, 3, H, W): one array for each output, floating ones as float32."""
        return self.network.run(blob)

    def run_on_grey(self) -> list[npt.NDArray[Any]]:
        """What the network says of a picture of nothing: its output's real shapes, and the range of its numbers."""
        grey = np.full((self.size_wh[1], self.size_wh[0], 3), _GREY, dtype=np.uint8)
        return self.run(self.prepare(grey)[0])
