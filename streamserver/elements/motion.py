"""``motion``: finds what moves, without weights; stands in for a detector. Keys: docs/elements.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections
from streamserver.elements._model import Outlook
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.vision.motion import MotionDetector, MotionOptions

_MOST = 1e9


class MotionElement(Element):
    """Adds a box for each moving thing, all of class 0 with score 1; a frame's earlier detections go.

    Keeps one background a channel; drops it when the channel starts over or ends.
    """

    may_be_shared = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        default = MotionOptions()
        self._options = MotionOptions(
            min_area=self._number("min_area", default.min_area, low=0.0),
            history_frames=int(self._number("history", default.history_frames, low=2, whole=True)),
            warmup_frames=int(self._number("warmup_frames", default.warmup_frames, low=0, whole=True)),
        )
        self._outlook = Outlook(context)
        self._detectors: dict[int, MotionDetector] = {}

    def open(self) -> None:
        """Reports what runs."""
        self.context.report("detector", "motion")

    def process(self, frame: Frame, emit: Emit) -> None:
        """Compares the frame, or the part of it that ``roi`` names, with the channel's background."""
        if frame.picture is not None:
            frame.detections = self._detect(frame)
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._detectors.pop(frame.channel_id, None)
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        """Looks at another part of the picture; its background has to be learnt anew then."""
        context = replace(self.context, configure=configure)
        outlook, self.context = Outlook(context), context
        if outlook.roi != self._outlook.roi:
            self._outlook = outlook
            self._detectors.clear()

    def close(self) -> None:
        """Forgets all channels."""
        self._detectors.clear()

    def _detect(self, frame: Frame) -> Detections:
        if frame.discontinuity or frame.channel_id not in self._detectors:
            self._detectors[frame.channel_id] = MotionDetector(self._options)
        part = self._outlook.part_of(frame)
        if part is None:
            return Detections.empty()
        part_bgr, left_top = part
        boxes = self._detectors[frame.channel_id].update(part_bgr) + np.array(left_top * 2, dtype=np.float32)
        return Detections.from_arrays(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))

    def _number(self, key: str, default: float, *, low: float, whole: bool = False) -> float:
        value = self.context.configure.get(key, default)
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= _MOST:
            noun = "a whole number" if whole else "a number"
            raise self.context.error(key, f"expected {noun} from {low:g}, got {value!r}")
        return value


ELEMENT = MotionElement
