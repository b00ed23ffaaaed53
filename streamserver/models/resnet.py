"""Networks that judge a picture as a whole: classifiers, multi-label classifiers and feature extractors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError, StreamServerError
from streamserver.core.model_address import ModelPlace
from streamserver.models.network import Outputs, PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session
from streamserver.vision.letterbox import Letterbox

Activation = Literal["softmax", "sigmoid", "none"]

DEFAULT_SIDE = 224
"""Width and height where the file leaves them free."""

_GREY = 114
_SUM_TOLERANCE = 0.02
"""How far the probabilities of a float16 network may be from 1 in sum."""

_LARGEST_LOGIT = 1e4
_FLAT_LOGIT = 80.0
"""Beyond it a sigmoid is 0 or 1 in float32, and its power of e would overflow."""

_SAMPLES = 4
"""Pictures that a network is tried with to learn about its numbers."""

_USUAL_FEATURES = (64, 128, 256, 512, 1024, 2048)


class _Buffers(threading.local):
    """The canvas and the network's input, one set a thread, used again for every picture."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.letterbox = Letterbox((shape[3], shape[2]), pad=_GREY, anchor="center")
        self.blob: FloatArray = np.empty(shape, dtype=np.float32)


class ResNet:
    """A network with one row of numbers for a picture; may be shared between threads.

    A picture is scaled into the middle of the input, the rest is grey (114).

    Args:
        session: the loaded file: one picture in, one output [n, k] (sides of 1 do not count).
        normalisation: what the network wants to see.
        grey: show it the picture without colours. A network of one channel always gets it so.

    Attributes:
        batch_size: pictures that are worth giving to ``run_many`` at once.
        count: k.
        adds_up: whether its numbers are probabilities of which one is true: the softmax is inside.
        bounded: whether its numbers all lie from 0 to 1: the softmax or a sigmoid is inside.
        unit_length: whether its numbers are a vector of length 1.

    Raises:
        ModelError: the file is none of the family; says what was expected and found.
    """

    def __init__(self, session: Session, *, normalisation: Normalisation | None = None, grey: bool = False) -> None:
        self._network = PictureNetwork(session, default_size_wh=(DEFAULT_SIDE, DEFAULT_SIDE))
        channels = self._network.input.channels
        self._grey = grey or channels == 1
        self._normalisation = self._network.input.takes(normalisation or Normalisation())
        self.batch_size = self._network.proven_batch()
        width, height = self._network.size_wh
        self._buffers = _Buffers((self.batch_size, channels, height, width))
        samples = np.stack([self.run(picture) for picture in _sample_pictures(self._network.size_wh)])
        self.count = samples.shape[1]
        self.bounded = bool(samples.min() >= 0 and samples.max() <= 1)
        self.adds_up = self.bounded and bool(np.abs(samples.sum(axis=1) - 1).max() < _SUM_TOLERANCE)
        self.unit_length = bool(np.abs(np.linalg.norm(samples, axis=1) - 1).max() < _SUM_TOLERANCE)

    @classmethod
    def load(
        cls,
        path: ModelPlace,
        *,
        device: str = "auto",
        threads: int = 1,
        normalisation: Normalisation | None = None,
        grey: bool = False,
    ) -> ResNet:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        return cls(open_session(path, device=device, threads=threads), normalisation=normalisation, grey=grey)

    @property
    def description(self) -> str:
        """What runs where, e.g. ``mobilefacenet_128d.onnx on CPUExecutionProvider``."""
        return self._network.description

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the input in pixels."""
        return self._network.size_wh

    def run(self, image_bgr: ImageBgr) -> FloatArray:
        """The network's numbers, float32 (count,), for a picture (height, width, 3), which is not written to."""
        return self._row(self._network.run(self.prepare(image_bgr)))

    def run_many(self, images_bgr: Sequence[ImageBgr]) -> list[FloatArray]:
        """The numbers of each of some pictures."""
        if self.batch_size == 1:
            return [self.run(image) for image in images_bgr]
        rows: list[FloatArray] = []
        for start in range(0, len(images_bgr), self.batch_size):
            some = images_bgr[start : start + self.batch_size]
            blob = self._buffers.blob[: len(some)]
            for place, image in zip(blob, some, strict=True):
                self._fill(place, image)
            outputs = self._network.run(blob)
            rows += [self._row([output[i : i + 1] for output in outputs]) for i in range(len(some))]
        return rows

    def _row(self, outputs: Outputs) -> FloatArray:
        """The one row of numbers of what the network gives for one picture."""
        fitting = len(outputs) == 1 and outputs[0].dtype == np.float32 and outputs[0].size > 0
        if not fitting or max(outputs[0].shape, default=0) != outputs[0].size:
            raise ModelError(
                f"'{self._network.name}' is no classifier and no feature extractor: expected one output [1, k] of "
                f"floats, got {', '.join(f'{list(output.shape)} {output.dtype}' for output in outputs)}"
            )
        row: FloatArray = outputs[0].reshape(-1)
        return row

    def prepare(self, image_bgr: ImageBgr) -> FloatArray:
        """The network's input (1, channels, H, W), valid until this thread's next call."""
        blob = self._buffers.blob[:1]
        self._fill(blob[0], image_bgr)
        return blob

    def _fill(self, place: FloatArray, image_bgr: ImageBgr) -> None:
        """Writes a picture into one row of the input, (channels, H, W)."""
        canvas, _ = self._buffers.letterbox(image_bgr)
        if not self._grey:
            self._normalisation.fill(place, canvas)
            return
        plane = cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY)
        for row, target in enumerate(place):
            np.multiply(plane, np.float32(self._normalisation.scale[row]), out=target)
            target -= np.float32(self._normalisation.offset[row])


def activate(values: FloatArray, activation: Activation) -> FloatArray:
    """Numbers (k,) through a softmax, a sigmoid or as they are; huge ones, and what is no number, do no harm."""
    if activation == "none":
        return values
    logits = np.clip(np.nan_to_num(values, nan=-_LARGEST_LOGIT), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    if activation == "softmax":
        powers = np.exp(logits - logits.max())
        shares: FloatArray = powers / powers.sum()
        return shares
    probabilities: FloatArray = np.reciprocal(1 + np.exp(-np.clip(logits, -_FLAT_LOGIT, _FLAT_LOGIT)))
    return probabilities


def suggest(session: Session) -> Suggestion | None:
    """How to run a network with one row of numbers; ``None`` for any other."""
    if len(session.outputs) != 1 or len([side for side in session.outputs[0].shape[1:] if side != 1]) > 1:
        return None
    try:
        network = ResNet(session)
    except StreamServerError:
        return None
    colours = {"bgr2rgb": True, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    note = "mean, std and bgr2rgb are ImageNet's: take those that the network was trained with"
    task, certainty = _likely_task(network)
    return Suggestion(
        element="resnet",
        layout=f"{network.count} numbers for a picture of {network.size_wh[0]}x{network.size_wh[1]}",
        configure={**colours, "task_type": task},
        notes=(note,),
        certainty=certainty,
    )


def _likely_task(network: ResNet) -> tuple[str, float]:
    if network.count == 1:
        return "MultiLabel", 0.4
    if network.adds_up:
        return "SingleLabel", 0.6
    if network.unit_length:
        return "FeatureExtract", 0.6
    if network.bounded:
        return "MultiLabel", 0.5
    return ("FeatureExtract" if network.count in _USUAL_FEATURES else "SingleLabel"), 0.4


def _sample_pictures(size_wh: tuple[int, int]) -> Sequence[ImageBgr]:
    """Noise of different brightness, always the same."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 64 * (level + 1), (size_wh[1], size_wh[0], 3), dtype=np.uint8) for level in range(_SAMPLES)]
