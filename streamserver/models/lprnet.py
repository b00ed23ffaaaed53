"""LPRNet (Zherzdev and Gruzdev 2018, arXiv 1806.10447): reads a Chinese number plate cut out of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.core.model_address import ModelPlace
from streamserver.core.objects import Recognition
from streamserver.core.plates import DIGITS, LETTERS, PROVINCES
from streamserver.models._ctc import greedy, softmax
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

SYMBOLS = (*PROVINCES, *DIGITS, *LETTERS, "I", "O", "-")
"""What the 68 outputs mean; the last one is the blank."""

USUAL = Normalisation.from_mean_std(mean=127.5, std=128, rgb=False)
"""What the network was trained with."""

_DEFAULT_SIZE_WH = (94, 24)
_COLUMNS = 18


class LprNet:
    """A loaded LPRNet; may be shared between threads.

    Args:
        session: the loaded file: one picture in, scores of each symbol in each column out, (n, symbols, columns) or
            (n, columns, symbols).
        symbols: what the outputs mean, the blank last.
        normalisation: what the network wants to see.

    Raises:
        ModelError: the file has another number of symbols; says what was expected and found.
    """

    def __init__(
        self, session: Session, *, symbols: Sequence[str] = SYMBOLS, normalisation: Normalisation | None = None
    ) -> None:
        self._network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
        self._symbols = tuple(symbols)
        self._normalisation = normalisation or USUAL
        width, height = self._network.size_wh
        sample = self._network.run(np.zeros((1, 3, height, width), dtype=np.float32))[0]
        self._symbols_last = _symbols_last(session.name, sample.shape, len(self._symbols))

    @classmethod
    def load(
        cls,
        path: ModelPlace,
        *,
        device: str = "auto",
        threads: int = 1,
        symbols: Sequence[str] = SYMBOLS,
        normalisation: Normalisation | None = None,
    ) -> LprNet:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        session = open_session(path, device=device, threads=threads)
        return cls(session, symbols=symbols, normalisation=normalisation)

    @property
    def description(self) -> str:
        """What runs where."""
        return self._network.description

    def read(self, images_bgr: Sequence[ImageBgr]) -> list[Recognition]:
        """The text of each plate, pictures of shape (height, width, 3) that show nothing else, with its score."""
        if not images_bgr:
            return []
        columns = self.columns(self.preprocess(images_bgr))
        return [self._text(plate) for plate in columns]

    def preprocess(self, images_bgr: Sequence[ImageBgr]) -> FloatArray:
        """The pictures stretched to the network's input, (n, 3, H, W)."""
        width, height = self._network.size_wh
        blob: FloatArray = np.empty((len(images_bgr), 3, height, width), dtype=np.float32)
        for row, image in zip(blob, images_bgr, strict=True):
            stretched = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            self._normalisation.fill(row, np.asarray(stretched, dtype=np.uint8))
        return blob

    def columns(self, blob: FloatArray) -> FloatArray:
        """Probabilities of each symbol in each column: (n, columns, symbols)."""
        scores: FloatArray = self._network.run(blob)[0]
        return softmax(scores if self._symbols_last else scores.transpose(0, 2, 1))

    def _text(self, columns: FloatArray) -> Recognition:
        found = greedy(columns, blank=len(self._symbols) - 1)
        return Recognition("".join(self._symbols[symbol] for symbol in found.symbols), (found.score,))


def suggest(session: Session) -> Suggestion | None:
    """Whether the file is an LPRNet: a small picture in, 68 symbols out."""
    outputs = [spec.shape for spec in session.outputs]
    if len(session.inputs) != 1 or len(outputs) != 1 or len(outputs[0]) != 3 or len(SYMBOLS) not in outputs[0][1:]:
        return None
    return Suggestion(
        element="lprnet",
        layout=f"{len(SYMBOLS)} symbols of Chinese plates in each column, {_words(outputs[0])}",
        notes=("reads a plate that was cut out: put a plate detector and a distributor before it",),
        certainty=0.95 if _COLUMNS in outputs[0][1:] else 0.6,
    )


def _symbols_last(name: str, shape: tuple[int, ...], count: int) -> bool:
    if len(shape) == 3 and shape[1] == count:
        return False
    if len(shape) == 3 and shape[2] == count:
        return True
    raise ModelError(
        f"'{name}' is no LPRNet of {count} symbols: expected an output [n, {count}, {_COLUMNS}] or "
        f"[n, {_COLUMNS}, {count}], got {_words(shape)}",
        cure="name the file with the network's symbols, one a line and the blank last, as class_names_file",
    )


def _words(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"
