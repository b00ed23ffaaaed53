"""Lets through the objects that a rule wants reported, and only frames that have any (CONTRACT 3.5).

``configure.rules[]``: ``channel_id`` and ``filters[]``; the keys of a filter stand at ``rules.spec.FilterSpec``. The
result of a frame is the union of what its filters report, in the frame's order; each filter sees the original objects.
Poses, outlines and parts of objects go with them. What was read of an object, a number plate, is the first text among
its part's recognitions.
"""

from __future__ import annotations

import logging

import numpy as np

from streamserver.core.arrays import FloatArray
from streamserver.core.plates import UNREADABLE
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.geometry.rules.object_filter import Mask, ObjectFilter
from streamserver.geometry.rules.spec import FilterSpec, SpecError, parse_rules

_log = logging.getLogger(__name__)


class Filter(Element):
    """Filters of each channel; what they remember is dropped at a discontinuity and at the end of a channel."""

    wants_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._warned: set[tuple[int, str]] = set()
        try:
            self._specs = parse_rules(context.configure)
        except SpecError as e:
            raise context.error(e.key, e.problem, cure=e.cure) from e
        for channel_id, specs in self._specs.items():
            for i, spec in enumerate(specs):
                if spec.lacks:
                    self._warn(channel_id, f"reports nothing with filter {i}: its '{spec.lacks}' is an empty list")
        self._filters: dict[int, list[ObjectFilter]] = {}

    def process(self, frame: Frame, emit: Emit) -> None:
        """Emits the frame with the objects to report; drops it when there is none."""
        specs = self._specs.get(frame.channel_id)
        if frame.skipped and specs is not None:
            return  # nothing was looked for in it, so nothing of it passes
        if specs is None:
            self._warn(frame.channel_id, "has no rule for this channel; its frames pass unfiltered")
            emit(frame)
            return
        if any(spec.needs_tracks for spec in specs) and len(frame.detections) and not frame.detections.tracked:
            self._warn(
                frame.channel_id,
                "gets objects without track ids for a filter of type 1, which then counts by class and sees no "
                "crossing; put a bytetrack element before the filter or use type 2",
            )
        passing = self._passing(frame, specs)
        if passing.any():
            frame.keep_rows(np.flatnonzero(passing))
            emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._filters.pop(frame.channel_id, None)
        emit(frame)

    def _passing(self, frame: Frame, specs: tuple[FilterSpec, ...]) -> Mask:
        """The objects that any filter reports; notes in the frame the areas that let them through."""
        assert frame.picture is not None
        filters = self._filters.setdefault(frame.channel_id, [ObjectFilter(spec) for spec in specs])
        texts = _texts_of(frame)
        passing = np.zeros(len(frame.detections), dtype=np.bool_)
        touched: list[FloatArray] = []
        for one in filters:
            if frame.discontinuity:
                one.reset()
            found = one.passing(
                frame.detections,
                step=frame.sequence,
                timestamp_us=frame.timestamp_us,
                size_wh=frame.picture.size_wh,
                texts=texts,
            )
            passing |= found.mask
            areas = [one.spec.areas[area] for area in found.areas]
            touched += [area.astype(np.float32) for area in areas if len(area)]
        frame.touched_areas = [*frame.touched_areas, *touched]
        return passing

    def _warn(self, channel_id: int, problem: str) -> None:
        if (channel_id, problem) not in self._warned:
            self._warned.add((channel_id, problem))
            element_id = self.context.element_id
            _log.warning("%s: element %d on channel %d %s", self.context.config_file, element_id, channel_id, problem)


def _texts_of(frame: Frame) -> list[str]:
    """What was read of each object; empty where nothing was."""
    texts = [""] * len(frame.detections)
    for part in frame.sub_frames:
        row = part.sub_id - len(frame.faces)
        if 0 <= row < len(texts) and not texts[row]:
            texts[row] = next((one.label for one in part.recognitions if one.label not in UNREADABLE), "")
    return texts


ELEMENT = Filter
