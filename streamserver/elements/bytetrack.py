"""Gives detections track ids (CONTRACT 3.4): one tracker for each channel, whatever ``thread_number`` says.

What no track continues disappears from the frame, with its pose, its outline and its parts. Track ids come from one
counter of the process, from 1, so the ids of different channels and of different runs of a source never meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.geometry.tracking.byte_tracker import ByteTracker, ByteTrackOptions

_MOST = 10**9
"""More frames or pixels than there are."""

_next_track_id = itertools.count(1).__next__


class ByteTrack(Element):
    """Replaces the detections of each frame by its tracks; keys and defaults stand at ``ByteTrackOptions``."""

    light = True
    may_be_shared = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._options = _read_options(context)
        self._trackers: dict[int, ByteTracker] = {}

    def process(self, frame: Frame, emit: Emit) -> None:
        """Emits every frame, also one without tracks; a discontinuity starts a new tracker."""
        assert frame.picture is not None
        if frame.discontinuity or frame.channel_id not in self._trackers:
            self._trackers[frame.channel_id] = ByteTracker(self._options, _next_track_id)
        tracker = self._trackers[frame.channel_id]
        tracked, rows = tracker.track(frame.detections, frame.picture.size_wh, frame.clock_s)
        frame.keep_rows(rows, tracked)
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._trackers.pop(frame.channel_id, None)
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        """Its tracks go on under the new options."""
        context = replace(self.context, configure=configure)
        self._options, self.context = _read_options(context), context
        for tracker in self._trackers.values():
            tracker.options = self._options


def _read_options(context: ElementContext) -> ByteTrackOptions:
    """The keys that are there, checked; raises ``GraphError``."""
    values = {f.name: context.configure[f.name] for f in fields(ByteTrackOptions) if f.name in context.configure}
    for name, value in values.items():
        if isinstance(getattr(ByteTrackOptions(), name), bool):
            if not isinstance(value, bool):
                raise context.error(name, f"expected true or false, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise context.error(name, f"expected a number of at least 0, got {value!r}")
        elif value > _MOST:
            raise context.error(name, f"{value!r} is too much", cure=f"use at most {_MOST}")
    return ByteTrackOptions(**values)


ELEMENT = ByteTrack
