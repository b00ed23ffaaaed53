"""``ppocr_rec``, ``ppocr_rec_group``: reads a line of text that was cut out. Keys: docs/elements.md."""

from __future__ import annotations

import math

from streamserver.core.errors import ConfigError
from streamserver.elements._model import (
    find_model,
    load_network,
    normalisation_of,
    read_choice,
    read_count,
    read_flag,
    read_model_path,
    read_normalisation,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.ppocr_rec import ALPHABETS, Alphabet, PpocrRec, read_characters

_EVERYTHING = "all"
_MOST_BEAMS = 40
_USUAL_BEAMS = 3


class PpocrRecElement(Element):
    """Adds the text that a frame or part shows."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        self._characters = self._read_file("class_names_file")
        self._alphabet = self._read_alphabet()
        self._aspect = self._read_aspect()
        beam_width = read_count(context, "beam_width", default=_USUAL_BEAMS, least=1, most=_MOST_BEAMS)
        self._beam_width = beam_width if read_flag(context, "beam_search", default=False) else 0
        self._normalisation = read_normalisation(context)
        self._reader: PpocrRec | None = None

    def open(self) -> None:
        """Finds and loads the weights."""
        found = find_model(self.context, self._model_path, families=("ppocr_rec",))
        known = found.entry is not None  # then the file names its characters, and those of a .bmodel are other ones
        self._reader = load_network(
            self.context,
            found,
            PpocrRec.load,
            characters=None if known else self._characters,
            alphabet=self._alphabet,
            aspect=self._aspect,
            beam_width=self._beam_width,
            normalisation=normalisation_of(found, self._normalisation),
        )
        self.context.report("reader", self._reader.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Reads the whole picture as one line."""
        if frame.picture is not None and frame.picture.bgr.size:
            assert self._reader is not None
            frame.recognitions = (*frame.recognitions, self._reader.read(frame.picture.bgr))
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._reader = None

    def _read_file(self, key: str) -> tuple[str, ...] | None:
        value = self.context.configure.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.context.error(key, f"expected a path, got {value!r}")
        path = self.context.base_dir / value
        if key == "class_names_file" and not path.is_file() and self._model_path.lower().endswith(".bmodel"):
            return None  # it belongs to the .bmodel; what stands in for that names its own
        try:
            return read_characters(path)
        except ConfigError as e:
            raise self.context.error(key, e.message, cure=e.cure) from e

    def _read_alphabet(self) -> Alphabet | None:
        named = read_choice(self.context, "alphabet", (_EVERYTHING, *ALPHABETS), default=_EVERYTHING)
        wanted = self._read_file("characters_file")
        if wanted is not None:
            if named != _EVERYTHING:
                raise self.context.error("characters_file", "stands beside alphabet", cure="say one of them")
            return Alphabet("".join(wanted))
        return ALPHABETS.get(named)

    def _read_aspect(self) -> float | None:
        value = self.context.configure.get("aspect")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.context.error("aspect", f"expected width by height, a number above 0, got {value!r}")
        return float(value)


ELEMENT = PpocrRecElement
