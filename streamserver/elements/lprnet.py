"""``lprnet``, ``lprnet_group``: reads Chinese number plates that were cut out. Keys: docs/elements.md."""

from __future__ import annotations

import dataclasses

from streamserver.elements._model import (
    find_model,
    load_network,
    normalisation_of,
    read_flag,
    read_model_path,
    read_names,
    read_normalisation,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.lprnet import SYMBOLS, LprNet


class LprNetElement(Element):
    """Adds the text of the plate that a frame or part shows."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        self._symbols = read_names(context) or SYMBOLS
        self._with_scores = read_flag(context, "scores", default=False)
        self._normalisation = read_normalisation(context)
        self._reader: LprNet | None = None

    def open(self) -> None:
        """Finds and loads the weights."""
        found = find_model(self.context, self._model_path, families=("lprnet",))
        self._reader = load_network(
            self.context,
            found,
            LprNet.load,
            symbols=self._symbols,
            normalisation=normalisation_of(found, self._normalisation),
        )
        self.context.report("reader", self._reader.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Reads the whole picture as one plate."""
        if frame.picture is not None and frame.picture.bgr.size:
            assert self._reader is not None
            [found] = self._reader.read([frame.picture.bgr])
            kept = found if self._with_scores else dataclasses.replace(found, scores=())
            frame.recognitions = (*frame.recognitions, kept)
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._reader = None


ELEMENT = LprNetElement
