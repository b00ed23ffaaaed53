"""PP-OCR text recognition (PaddleOCR): reads one line of text cut out of a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ConfigError, ModelError, StreamServerError
from streamserver.core.model_address import ModelPlace
from streamserver.core.objects import Recognition
from streamserver.core.plates import DIGITS, LAST_CHARACTERS, LETTERS, PROVINCES, SEPARATORS
from streamserver.models._ctc import Decoded, beam_search, greedy, softmax
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

UNREADABLE = Recognition("###", (0.0,))
"""What is said of a picture without text, as sophon-stream does."""

USUAL = Normalisation.from_mean_std(mean=127.5, std=127.5, rgb=False)
"""What the networks were trained with: -1 to 1."""

METADATA_KEY = "character"
"""Under which name a file of RapidOCR's holds its characters."""

_DEFAULT_SIZE_WH = (320, 48)
_WIDTH_STEP, _MAX_WIDTH = 160, 2560
_ROW_SUM_TOLERANCE = 0.01
_MOST_HEIGHT, _LEAST_CHARACTERS = 64, 12
"""Of files that may be readers, though they do not say so: their pictures are lines, and they know the digits."""

_SPACES = " \u3000"


@dataclass(frozen=True, slots=True)
class Alphabet:
    """What may be read; everything else is not seen at all.

    Attributes:
        characters: what may be read.
        alike: characters that count as another one, e.g. ``{"O": "0"}``.
        ignored: characters that are there and mean nothing; where they are, nothing is.
    """

    characters: str
    alike: Mapping[str, str] = field(default_factory=dict)
    ignored: str = ""


_SMALL = {letter.lower(): letter for letter in (*LETTERS, "I", "O")}

ALPHABETS = {
    "cn_plate": Alphabet(PROVINCES + DIGITS + LETTERS + LAST_CHARACTERS, {"O": "0", "I": "1"}, SEPARATORS),
    "plate": Alphabet(DIGITS + LETTERS + "IO", _SMALL, SEPARATORS),
    "digits": Alphabet(DIGITS, {}, SEPARATORS),
}
"""Those that have a name."""


class _Symbols:
    """Which columns of the output say which character.

    Args:
        characters: of each column of the output; the blank's is empty.
        alphabet: ``None`` for all characters.
    """

    def __init__(self, characters: Sequence[str], alphabet: Alphabet | None) -> None:
        wanted = characters if alphabet is None else ["", *dict.fromkeys(alphabet.characters)]
        self.characters = tuple(wanted)
        self.missing = "".join(sorted(set(self.characters) - set(characters)))
        self._pairs: npt.NDArray[np.intp] | None = None
        if alphabet is not None:
            targets = {character: i for i, character in enumerate(self.characters)}
            targets |= {other: targets[character] for other, character in alphabet.alike.items()}
            targets |= dict.fromkeys(alphabet.ignored, 0)
            pairs = [(targets[character], i) for i, character in enumerate(characters) if character in targets]
            self._pairs = np.array(pairs, dtype=np.intp).T

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """(t, columns of the output) to (t, characters): columns of one character added up, the others left out."""
        if self._pairs is None:
            return probabilities
        targets, sources = self._pairs
        folded: FloatArray = np.zeros((len(self.characters), len(probabilities)), dtype=np.float32)
        np.add.at(folded, targets, probabilities.T[sources])
        return folded.T

    def text(self, found: Decoded) -> str:
        """The text of symbol numbers."""
        return "".join(self.characters[symbol] for symbol in found.symbols)


class PpocrRec:
    """A loaded recogniser; may be shared between threads.

    Args:
        session: the loaded file: one picture in, the probability of each character in each column out. A width that
            the file leaves free follows the text.
        characters: one each; of a file that names its own (metadata ``character``), ``None`` for these.
        alphabet: what may be read; ``None`` for every character.
        aspect: width by height that every picture is stretched to first, for texts that always have the same;
            ``None`` keeps the picture's.
        beam_width: beginnings followed by a beam search; 0 takes the best character of each column.
        normalisation: what the network wants to see.

    Raises:
        ModelError: the file is no recogniser, or has another number of characters; says what was expected and found.
    """

    def __init__(
        self,
        session: Session,
        *,
        characters: Sequence[str] | None = None,
        alphabet: Alphabet | None = None,
        aspect: float | None = None,
        beam_width: int = 0,
        normalisation: Normalisation | None = None,
    ) -> None:
        self._network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
        self._aspect = aspect
        self._beam_width = beam_width
        self._normalisation = normalisation or USUAL
        width, height = self._network.size_wh
        sample: FloatArray = self._network.run(np.zeros((1, 3, height, width), dtype=np.float32))[0]
        if sample.ndim != 3:
            raise ModelError(
                f"'{session.name}' reads no text: expected an output [n, t, characters], got {_shape(sample)}"
            )
        known = _known_characters(session, characters)
        self._characters_last, columns = _layout(session.name, sample, known)
        rows = sample if self._characters_last else sample.transpose(0, 2, 1)
        self._are_logits = bool(np.abs(rows.sum(axis=2) - 1).max() > _ROW_SUM_TOLERANCE)
        self._symbols = _Symbols(columns, alphabet)
        if self._symbols.missing:
            raise ModelError(f"'{session.name}' cannot read '{self._symbols.missing}', which the alphabet asks for")

    @classmethod
    def load(
        cls,
        path: ModelPlace,
        *,
        device: str = "auto",
        threads: int = 1,
        characters: Sequence[str] | None = None,
        alphabet: Alphabet | None = None,
        aspect: float | None = None,
        beam_width: int = 0,
        normalisation: Normalisation | None = None,
    ) -> PpocrRec:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        return cls(
            open_session(path, device=device, threads=threads),
            characters=characters,
            alphabet=alphabet,
            aspect=aspect,
            beam_width=beam_width,
            normalisation=normalisation,
        )

    @property
    def description(self) -> str:
        """What runs where."""
        return self._network.description

    def read(self, image_bgr: ImageBgr) -> Recognition:
        """The text in a picture of shape (height, width, 3) that shows one line; ``UNREADABLE`` without any."""
        probabilities = self._symbols(self.columns(self.preprocess(image_bgr))[0])
        if self._beam_width:
            found = beam_search(probabilities, blank=0, width=self._beam_width)
        else:
            found = greedy(probabilities, blank=0)
        text = self._symbols.text(found).strip(_SPACES)
        return Recognition(text, (found.score,)) if text else UNREADABLE

    def preprocess(self, image_bgr: ImageBgr) -> FloatArray:
        """The picture at the network's height, its right side filled up with 0: (1, 3, H, W)."""
        height = self._network.size_wh[1]
        aspect = self._aspect or image_bgr.shape[1] / image_bgr.shape[0]
        text_width = max(1, math.ceil(height * aspect))
        width = self._network.input.size_wh[0] or _free_width(text_width)
        text_width = min(text_width, width)
        stretched = cv2.resize(image_bgr, (text_width, height), interpolation=cv2.INTER_LINEAR)
        blob: FloatArray = np.zeros((1, 3, height, width), dtype=np.float32)
        self._normalisation.fill(blob[0, :, :, :text_width], np.asarray(stretched, dtype=np.uint8))
        return blob

    def columns(self, blob: FloatArray) -> FloatArray:
        """Probabilities of each character in each column: (n, t, characters), the blank first."""
        scores: FloatArray = self._network.run(blob)[0]
        if not self._characters_last:
            scores = scores.transpose(0, 2, 1)
        return softmax(scores) if self._are_logits else scores


def read_characters(path: Path) -> tuple[str, ...]:
    """The characters of a file with one a line, as PaddleOCR's ``ppocr_keys_v1.txt``.

    Raises:
        ConfigError: the file cannot be read or names nothing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"characters '{path}' cannot be read: {e}") from e
    found = _lines(text)
    if not found:
        raise ConfigError(f"characters '{path}': the file is empty", cure="write one character a line")
    return found


def suggest(session: Session) -> Suggestion | None:
    """How the ppocr_rec element would run the file; ``None`` if it cannot."""
    shapes = [spec.shape for spec in session.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        return None
    named = METADATA_KEY in session.metadata
    count = shapes[0][2] if named else _count_characters(session)
    if not named and count is None:
        return None
    where = "in the file" if named else "in a file of their own"
    return Suggestion(
        element="ppocr_rec",
        layout=f"{count or 'any number of'} characters in each column, named {where}",
        configure={} if named else {"class_names_file": "ppocr_keys_v1.txt"},
        notes=() if named else ("class_names_file must be the list of characters that the network was trained with",),
        certainty=0.9 if named else 0.5,
    )


def _count_characters(session: Session) -> int | None:
    """Of a file that does not name its characters; ``None`` unless it says of a line of grey what a reader says.

    That is: for each column of a picture much wider than high, or as high as it likes, a probability of each of many
    characters, which together make 1.
    """
    try:
        network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
        width, height = network.size_wh
        outputs = network.run(np.zeros((1, 3, height, width), dtype=np.float32))
    except StreamServerError:
        return None
    if outputs[0].size == 0 or height > _MOST_HEIGHT:
        return None
    sums_to_one = [axis for axis in (2, 1) if np.abs(outputs[0].sum(axis=axis) - 1).max() <= _ROW_SUM_TOLERANCE]
    count = outputs[0].shape[sums_to_one[0]] if sums_to_one else 0
    return count if count >= _LEAST_CHARACTERS else None


def _free_width(text_width: int) -> int:
    """320 as in training or, for longer texts, a few steps of more, so that only a few sizes ever run."""
    steps = math.ceil(min(text_width, _MAX_WIDTH) / _WIDTH_STEP)
    return max(_DEFAULT_SIZE_WH[0], steps * _WIDTH_STEP)


def _known_characters(session: Session, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    text = session.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"'{session.name}' does not name its characters", cure="name the file that does as class_names_file"
        )
    return _lines(text)


def _lines(text: str) -> tuple[str, ...]:
    """Split at line feeds only: some characters of the lists count as line ends elsewhere."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _layout(name: str, sample: FloatArray, known: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    """Whether characters are the last axis, and the character of each: the blank, those known, perhaps a space."""
    choices = [("", *known), ("", *known, " ")]
    for axis in (2, 1):
        for columns in choices:
            if sample.shape[axis] == len(columns):
                return axis == 2, columns
    raise ModelError(
        f"'{name}' was given {len(known)} characters: expected an output of {len(known) + 1} columns (with the blank) "
        f"or {len(known) + 2} (and a space), got {_shape(sample)}",
        cure="class_names_file must be the list of characters that the network was trained with",
    )


def _shape(array: FloatArray) -> str:
    return str(list(array.shape))
