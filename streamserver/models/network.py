"""A network that looks at one picture: what its file says of the input, and runs in the form the rest of us uses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError, StreamServerError
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import Session, TensorSpec

Outputs = Sequence[npt.NDArray[Any]]
"""One array for each output of a file, in its order."""

DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
"""Types of inputs, as ONNX Runtime and as numpy call them."""

_CHANNELS = (1, 3)
_INT8_ZERO = 128
"""What a network that wants int8 calls 0 is half way between black and white."""

_LARGEST = 1e4

_ROUNDING = 0.01
"""By how much of the largest number two runs of the same picture may differ in float16."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The input of a network, as its file says.

    Attributes:
        name: of the tensor.
        size_wh: width and height in pixels; ``None`` for a side that the file leaves free.
        channels: 3 for colour, 1 for grey.
        batch: pictures a run must have; ``None`` where that is free.
        channels_last: the tensor is (n, height, width, channels) instead of (n, channels, height, width).
        dtype: of the tensor. float16 and float64 take the same numbers as float32; uint8 takes pixels from 0 to 255,
            int8 pixels less 128.
    """

    name: str
    size_wh: tuple[int | None, int | None]
    channels: int
    batch: int | None
    channels_last: bool
    dtype: npt.DTypeLike

    @classmethod
    def from_session(cls, session: Session) -> PictureInput:
        """Reads the only input of a session; raises ``ModelError`` when it takes no picture, and says what it takes."""
        if len(session.inputs) != 1:
            raise _no_picture(session)
        [spec] = session.inputs
        found = _read(spec)
        if found is None:
            raise _no_picture(session)
        return found

    def takes(self, wanted: Normalisation) -> Normalisation:
        """What it is shown: a network that takes whole numbers has its own scale, only the order of channels counts."""
        return Normalisation(rgb=wanted.rgb) if np.issubdtype(self.dtype, np.integer) else wanted

    def tensor(self, blob: FloatArray) -> npt.NDArray[Any]:
        """A (n, channels, H, W) array of float32 in the form that the file wants, filled up to its batch."""
        if self.batch is not None and len(blob) < self.batch:
            filler = np.zeros((self.batch - len(blob), *blob.shape[1:]), dtype=blob.dtype)
            blob = np.concatenate([blob, filler])
        if self.channels_last:
            blob = blob.transpose(0, 2, 3, 1)
        if self.dtype == np.uint8:
            return np.ascontiguousarray(np.clip(np.rint(blob), 0, 255).astype(np.uint8))
        if self.dtype == np.int8:
            return np.ascontiguousarray((np.clip(np.rint(blob), 0, 255) - _INT8_ZERO).astype(np.int8))
        return np.ascontiguousarray(blob.astype(self.dtype, copy=False))


class PictureNetwork:
    """A session that looks at pictures; may be shared between threads.

    Args:
        session: the loaded file.
        default_size_wh: used for sides that the file leaves free.

    Attributes:
        name: the file's name.
        input: what the file says of it.
        size_wh: width and height of the pictures it gets.
    """

    def __init__(self, session: Session, *, default_size_wh: tuple[int, int]) -> None:
        self.session = session
        self.name = session.name
        self.input = PictureInput.from_session(session)
        free_w, free_h = self.input.size_wh
        self.size_wh = (free_w or default_size_wh[0], free_h or default_size_wh[1])

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolox_nano.onnx on CPUExecutionProvider``."""
        return f"{self.session.name} on {self.session.provider}"

    def run(self, blob: FloatArray) -> list[npt.NDArray[Any]]:
        """Runs the network, several times where its batch is smaller than ``blob``.

        Args:
            blob: float32 (n, channels, H, W).

        Returns:
            One array for each output in the file's order; floating ones as float32. Outputs whose first side is the
            batch have n rows; others, such as a list of objects of all pictures, come as the file gives them.
        """
        step = self.input.batch or max(1, len(blob))
        runs = [self._run_once(blob[i : i + step]) for i in range(0, len(blob), step)]
        if len(runs) == 1:
            return runs[0]
        return [np.concatenate(parts) if parts[0].ndim else parts[-1] for parts in zip(*runs, strict=True)]

    def proven_batch(self) -> int:
        """How many pictures one run is worth giving, each of which then gets what it would get alone.

        That is tried: a file may give one list for all pictures, or be exported for one whatever it says. 1 where the
        file takes one at a time, where more gain nothing, and where the trial fails.
        """
        most = self.input.batch or self.session.best_batch
        if most == 1:
            return 1
        rng = np.random.default_rng(0)
        shape = (2, self.input.channels, self.size_wh[1], self.size_wh[0])
        blob = rng.integers(0, 256, shape).astype(np.float32)
        try:
            together, alone = self.run(blob), self.run(blob[1:])
        except StreamServerError as e:
            logger.info("'%s' gets one picture a run: it fails with two: %s", self.name, e.message)
            return 1
        if all(_is_second(pair, single) for pair, single in zip(together, alone, strict=True)):
            return most
        logger.info("'%s' gets one picture a run: what it says of a picture depends on the others", self.name)
        return 1

    def _run_once(self, blob: FloatArray) -> list[npt.NDArray[Any]]:
        tensor = self.input.tensor(blob)
        outputs = self.session.run({self.input.name: tensor})
        if not all(isinstance(output, np.ndarray) for output in outputs):
            raise ModelError(
                f"'{self.name}' has an output that is no array: expected a network, got another kind of model"
            )
        if len(tensor) > len(blob):
            specs = self.session.outputs
            outputs = [
                output[: len(blob)] if _by_picture(spec, output, len(tensor)) else output
                for spec, output in zip(specs, outputs, strict=True)
            ]
        return [_as_floats(output) for output in outputs]


def without_overflow(values: FloatArray) -> FloatArray:
    """The same maps or numbers, with 0 for those that only a network that has overflowed gives: huge ones and none."""
    if values.min(initial=0) > -_LARGEST and values.max(initial=0) < _LARGEST:
        return values
    return np.where(np.abs(values) < _LARGEST, values, np.float32(0))


def _by_picture(spec: TensorSpec, output: npt.NDArray[Any], count: int) -> bool:
    """A list whose length the file leaves free may happen to be as long as the batch."""
    return output.ndim > 0 and len(output) == count and (spec.shape[:1] == (count,) or output.ndim > 2)


def _is_second(pair: npt.NDArray[Any], single: npt.NDArray[Any]) -> bool:
    """Whether the second of two rows is, but for rounding, the one row of ``single``."""
    if pair.ndim == 0 or len(pair) != 2 or pair[1:].shape != single.shape:
        return False
    if single.dtype.kind != "f":
        return bool((pair[1:] == single).all())
    most = float(np.abs(single).max(initial=0, where=np.isfinite(single)))
    return np.allclose(pair[1:], single, rtol=_ROUNDING, atol=_ROUNDING * most, equal_nan=True)


def _as_floats(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return output.astype(np.float32) if output.dtype in (np.float16, np.float64) else output


def _read(spec: TensorSpec) -> PictureInput | None:
    if len(spec.shape) != 4 or spec.dtype not in DTYPES:
        return None
    batch, *rest = spec.shape
    if rest[0] in _CHANNELS:
        (channels, height, width), last = rest, False
    elif rest[2] in _CHANNELS:
        (height, width, channels), last = rest, True
    elif rest[0] is None and rest[2] not in _CHANNELS:
        (_, height, width), channels, last = rest, 3, False
    else:
        return None
    assert channels is not None
    return PictureInput(spec.name, (width, height), channels, batch, last, DTYPES[spec.dtype])


def _no_picture(session: Session) -> ModelError:
    found = ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in session.inputs)
    return ModelError(
        f"'{session.name}' does not look at one picture: expected one input [n, 3, H, W] or [n, H, W, 3] of float32, "
        f"float16, uint8 or int8, got {found}"
    )
