"""A network that sees each picture letterboxed and normalised: what comes before all yolo families."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import Session
from streamserver.vision.letterbox import Anchor, Letterbox, LetterboxMap

DEFAULT_SIDE = 640
"""Width and height where the file leaves them free."""

_GREY = 114


class _Buffers(threading.local):
    """The canvas and the network's input, one set a thread, used again for every picture."""

    def __init__(self, size_wh: tuple[int, int], pad: int, anchor: Anchor, max_scale: float) -> None:
        self.letterbox = Letterbox(size_wh, pad=pad, anchor=anchor, max_scale=max_scale)
        self.blob: FloatArray = np.empty((1, 3, size_wh[1], size_wh[0]), dtype=np.float32)


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
        self._buffers = _Buffers(self.size_wh, pad, anchor, math.inf if enlarge else 1.0)

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

    def prepare(self, image_bgr: ImageBgr) -> tuple[FloatArray, LetterboxMap]:
        """The network's input (1, 3, H, W), valid until this thread's next call, and where the picture is in it."""
        buffers = self._buffers
        canvas, mapping = buffers.letterbox(image_bgr)
        self._normalisation.fill(buffers.blob[0], canvas)
        return buffers.blob, mapping

    def run(self, blob: FloatArray) -> list[npt.NDArray[Any]]:
        """Runs the network on (1, 3, H, W): one array for each output, floating ones as float32."""
        return self.network.run(blob)

    def run_on_grey(self) -> list[npt.NDArray[Any]]:
        """What the network says of a picture of nothing: its output's real shapes, and the range of its numbers."""
        grey = np.full((self.size_wh[1], self.size_wh[0], 3), _GREY, dtype=np.uint8)
        return self.run(self.prepare(grey)[0])
