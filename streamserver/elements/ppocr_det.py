"""``ppocr_det``, ``ppocr_det_group``: finds lines of text. Keys: docs/elements.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.elements._model import (
    Outlook,
    find_model,
    load_network,
    normalisation_of,
    read_count,
    read_model_path,
    read_normalisation,
    read_share,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.detector import Detector, Found, load_detector
from streamserver.models.ppocr_det import DbOptions

_FAMILY = "ppocr_det"
_BOX_SCORE = 0.6
_LEAST_SIDE_PX = 32


class PpocrDetElement(Element):
    """Puts the lines of text of each frame into it, best score first; what another detector found before goes."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        box_score = read_share(context, "box_threshold", context.configure.get("box_threshold", _BOX_SCORE))
        self._min_scores = np.array([box_score], dtype=np.float32)
        self._options = self._read_options()
        self._normalisation = read_normalisation(context)
        self._outlook = Outlook(context)
        self._detector: Detector | None = None

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = find_model(self.context, self._model_path, families=(_FAMILY,))
        self._detector = load_network(
            self.context,
            found,
            load_detector,
            family=_FAMILY,
            normalisation=normalisation_of(found, self._normalisation),
            options=self._options,
        )
        self.context.report("detector", self._detector.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the frame, or at the part of it that ``roi`` names."""
        if frame.picture is not None:
            part = self._outlook.part_of(frame)
            found = Found() if part is None else self._look(*part)
            frame.detections = found.detections
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._detector = None

    def _look(self, image_bgr: ImageBgr, left_top: tuple[int, int]) -> Found:
        assert self._detector is not None
        return self._detector.look(image_bgr, min_scores=self._min_scores, iou_threshold=1.0).moved(*left_top)

    def _read_options(self) -> dict[str, Any]:
        context, usual = self.context, DbOptions()
        ratio = context.configure.get("unclip_ratio", usual.unclip_ratio)
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < math.inf:
            raise context.error("unclip_ratio", f"expected a number of at least 0, got {ratio!r}")
        return {
            "threshold": read_share(context, "threshold", context.configure.get("threshold", usual.threshold)),
            "unclip_ratio": float(ratio),
            "max_side": read_count(context, "max_side", default=usual.max_side, least=_LEAST_SIDE_PX),
        }


ELEMENT = PpocrDetElement
