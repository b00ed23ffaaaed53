"""Lets through the objects that a rule wants reported, and only frames that have any (CONTRACT 3.5).

``configure.rules[]``: ``channel_id`` and ``filters[]``. A member of ``filters`` is one of sophon-stream's
(``rules.spec.FilterSpec``) or, with the key ``rule``, one of ours (``rules.rule.RuleSpec``), which watches what happens
over several frames and notes it in the frame as events. The result of a frame is the union of what its filters report,
in the frame's order; each sees the original objects. Poses, outlines and parts of objects go with them. What was read
of an object, a number plate, is the first text among its part's recognitions.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.events import RuleEvent
from streamserver.core.plates import UNREADABLE
from streamserver.elements._places import places_beside
from streamserver.elements._shots import Shots, tells_of_the_gone
from streamserver.engine.element import LEFT_OUT, Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.geometry.rules.channel import ChannelRules
from streamserver.geometry.rules.conditions import wrong_sizes
from streamserver.geometry.rules.entries import Entry, parse_entries
from streamserver.geometry.rules.reading import SpecError
from streamserver.geometry.rules.rule import Conditions, RuleSpec
from streamserver.geometry.rules.spec import FilterSpec

_log = logging.getLogger(__name__)

Entries = tuple[Entry, ...]


class Filter(Element):
    """Filters of each channel; what they remember is dropped at a discontinuity and at the end of a channel.

    Rules tell then who had gone by that time: with the frame after a discontinuity, or with one more frame, which shows
    the last picture, at the end.
    """

    light = True

    wants_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._warned: set[tuple[int, str]] = set()
        self._left_out: dict[int, tuple[str, bool, str]] = {}
        self._fitted: dict[int, tuple[int, int]] = {}
        self._beside: dict[int, str] = {}
        self._entries = _read(context)
        self._channels: dict[int, _Channel] = {}
        self._warn_of_lacks()

    def process(self, frame: Frame, emit: Emit) -> None:
        """Emits the frame with the objects to report; drops it when there is nothing to report."""
        entries = self._entries.get(frame.channel_id)
        if frame.skipped and entries is not None:
            return  # nothing was looked for in it, so nothing of it passes
        if entries is None:
            self._warn(frame.channel_id, "has no rule for this channel; its frames pass unfiltered")
            emit(frame)
            return
        if len(frame.detections):
            self._warn_of_tracks(frame, entries)
        self._warn_of_places(frame, entries)
        self._say_left_out(frame, entries)
        channel = self._channels.get(frame.channel_id)
        if channel is None:
            channel = self._channels[frame.channel_id] = _Channel(entries)
        if channel.look(frame):
            emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Tells what is still to be told, and forgets the channel."""
        channel = self._channels.pop(frame.channel_id, None)
        last = channel.end() if channel is not None else None
        if last is not None:
            emit(last)
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        """Goes on with other entries; those that are as before remember what they have seen, wherever they stand now.

        Raises:
            GraphError: ``configure`` cannot be used, and nothing has changed.
        """
        context = dataclasses.replace(self.context, configure=configure)
        entries = _read(context)
        channels = {i: _Channel(entries[i], before) for i, before in self._channels.items() if i in entries}
        self.context, self._entries, self._channels = context, entries, channels
        for channel_id in self._left_out:
            self.context.report(f"{LEFT_OUT} {channel_id}", "")
        self._left_out.clear()
        self._fitted.clear()
        self._beside.clear()
        self._warn_of_lacks()

    def _warn_of_lacks(self) -> None:
        for channel_id, entries in self._entries.items():
            for i, entry in enumerate(entries):
                if isinstance(entry.spec, FilterSpec) and entry.spec.lacks:
                    self._warn(
                        channel_id, f"reports nothing with filter {i}: its '{entry.spec.lacks}' is an empty list"
                    )

    def _warn_of_tracks(self, frame: Frame, entries: Entries) -> None:
        if frame.detections.tracked:
            return
        for entry in entries:
            if isinstance(entry.spec, RuleSpec):
                self._warn(
                    frame.channel_id,
                    f"gets objects without track ids for a rule of kind '{entry.spec.kind}', which then cannot tell "
                    "who is who and sees little or nothing; put a bytetrack element before the filter",
                )
            elif entry.spec.needs_tracks:
                self._warn(
                    frame.channel_id,
                    "gets objects without track ids for a filter of type 1, which then counts by class and sees no "
                    "crossing; put a bytetrack element before the filter or use type 2",
                )

    def _say_left_out(self, frame: Frame, entries: Entries) -> None:
        """Who wonders why nothing is reported finds the reason in the log and in the task's status."""
        before = self._left_out.get(frame.channel_id, ("", False, ""))
        beside = self._beside.get(frame.channel_id, "")
        shut = bool(entries) and all(one.conditions.is_shut(frame.timestamp_us) for one in entries)
        sizes = (_of_wrong_size(frame.detections, one.conditions) for one in entries)
        size = before[2] or next(filter(None, sizes), "")
        if (beside, shut, size) == before:
            return
        self._left_out[frame.channel_id] = (beside, shut, size)
        words = [beside] * bool(beside) + ["everybody, outside the schedule"] * shut
        words += [f"objects for their size: {size}"] * bool(size)
        self.context.report(f"{LEFT_OUT} {frame.channel_id}", "; ".join(words))

    def _warn_of_places(self, frame: Frame, entries: Entries) -> None:
        """An area drawn on another picture than the camera sends is why nothing is reported."""
        assert frame.picture is not None
        size_wh = frame.picture.size_wh
        if self._fitted.get(frame.channel_id) == size_wh:
            return
        self._fitted[frame.channel_id] = size_wh
        self._beside[frame.channel_id] = ""
        for place in places_beside(entries, size_wh):
            what = "a line" if place.is_line else "an area"
            self._beside[frame.channel_id] = f"{what} lies outside the picture of {size_wh[0]}x{size_wh[1]}"
            points = ", ".join(f"({x:g}, {y:g})" for x, y in place.points_xy.tolist())
            self._warn(
                frame.channel_id,
                f"has {what} outside the picture of {size_wh[0]}x{size_wh[1]}, where nobody can be: {points}",
            )

    def _warn(self, channel_id: int, problem: str) -> None:
        if (channel_id, problem) not in self._warned:
            self._warned.add((channel_id, problem))
            element_id = self.context.element_id
            _log.warning("%s: element %d on channel %d %s", self.context.config_file, element_id, channel_id, problem)


class _Channel:
    """One channel: its rules, and the pictures that their events show."""

    def __init__(self, entries: Entries, before: _Channel | None = None) -> None:
        self._rules: ChannelRules = ChannelRules(entries, before._rules if before is not None else None)
        specs = [entry.spec if isinstance(entry.spec, RuleSpec) else None for entry in entries]
        self._best = [spec is not None and spec.best_picture for spec in specs]
        ruled = [spec for spec in specs if spec is not None]
        self._shots: Shots = Shots(ruled, before._shots if before is not None else None)
        self._may_end = any(tells_of_the_gone(spec) for spec in ruled)
        self._after: Frame | None = before._after if before is not None else None

    def look(self, frame: Frame) -> bool:
        """Leaves in the frame what is to be reported, with its events; False if there is nothing."""
        assert frame.picture is not None
        ended = self._shown(self._rules.end()) if frame.discontinuity else []
        if frame.discontinuity:
            self._rules.reset()
            self._shots.reset()
        self._after = _after(frame) if self._may_end else None
        outcome = self._rules.update(
            frame.detections,
            step=frame.sequence,
            clock_s=frame.clock_s,
            timestamp_us=frame.timestamp_us,
            size_wh=frame.picture.size_wh,
            texts=_texts_of(frame),
        )
        self._shots.see(frame.picture, frame.detections, outcome.identities.tolist(), frame.clock_s)
        if not (ended or outcome.events or outcome.kept.any()):
            return False
        frame.touched_areas = [*frame.touched_areas, *(area.astype(np.float32) for area in outcome.areas if len(area))]
        if outcome.events is not None:
            _note_events(frame, [*self._shown(outcome.events), *ended])
        frame.keep_rows(np.flatnonzero(outcome.kept))
        return True

    def end(self) -> Frame | None:
        """A frame that tells what was still to be told, if there is any."""
        ended = self._shown(self._rules.end())
        if ended and self._after is not None:
            _note_events(self._after, ended)
        return self._after if ended else None

    def _shown(self, events: Sequence[RuleEvent]) -> list[tuple[RuleEvent, ImageBgr | None]]:
        """With the pictures that are kept."""
        return [(event, self._shots.of(event, best=self._best[event.rule])) for event in events]


def _after(frame: Frame) -> Frame:
    """The next frame, with the same picture, in which nothing was found."""
    return Frame(
        frame.channel_id,
        frame.graph_id,
        frame.frame_id + 1,
        sequence=frame.sequence + 1,
        loop=frame.loop,
        timestamp_us=frame.timestamp_us,
        clock_s=frame.clock_s,
        picture=frame.picture,
    )


def _note_events(frame: Frame, shown: Sequence[tuple[RuleEvent, ImageBgr | None]]) -> None:
    frame.events = [*(frame.events or ()), *(event for event, _ in shown)]
    frame.event_pictures = [*frame.event_pictures, *(picture for _, picture in shown)]


def _read(context: ElementContext) -> dict[int, Entries]:
    try:
        return parse_entries(context.configure)
    except SpecError as e:
        raise context.error(e.key, e.problem, cure=e.cure) from e


def _of_wrong_size(objects: Detections, conditions: Conditions) -> str:
    """One of the objects that are too small or too large, in words; empty where none is."""
    if not (conditions.min_px or conditions.max_px):
        return ""
    small, large = wrong_sizes(objects, conditions)
    for rows, limit in (
        (small, f"even its longer side is below {conditions.min_px:g}"),
        (large, f"even its shorter side is above {conditions.max_px:g}"),
    ):
        if rows.any() and (rows := rows & conditions.concerns(objects.class_ids)).any():
            left, top, right, bottom = objects.boxes_xyxy[rows.argmax()]
            return f"one of {right - left:.0f}x{bottom - top:.0f} pixels, {limit}"
    return ""


def _texts_of(frame: Frame) -> list[str]:
    """What was read of each object; empty where nothing was."""
    texts = [""] * len(frame.detections)
    for part in frame.sub_frames:
        row = part.sub_id - len(frame.faces)
        if 0 <= row < len(texts) and not texts[row]:
            texts[row] = next((one.label for one in part.recognitions if one.label not in UNREADABLE), "")
    return texts


ELEMENT = Filter
