"""All entries of one channel at work: what they let through of each frame, and what they have seen happen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.core.events import RuleEvent
from streamserver.geometry.rules.entries import Entry
from streamserver.geometry.rules.object_filter import Mask, ObjectFilter
from streamserver.geometry.rules.rule import Rule, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.rules.rule_json import make_rule
from streamserver.geometry.rules.spec import FilterSpec
from streamserver.geometry.tracking.linker import Linker

Watcher = ObjectFilter | Rule

Points = npt.NDArray[np.float64]
"""Shape (k, 2), in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a channel's entries make of a frame.

    Attributes:
        kept: bool (n,), the objects to report now: those that a filter lets through, and those that events speak of.
        events: what the rules have seen happen, with ``rule`` the number of the entry; ``None`` without rules.
        areas: the lines and polygons at which something is to be reported, to be drawn.
        identities: int64 (n,), who each object is.
    """

    kept: Mask
    events: list[RuleEvent] | None
    areas: list[Points]
    identities: npt.NDArray[np.int64]


class ChannelRules:
    """Applies the entries of one channel to its processed frames, in order. Not for several threads at once.

    Args:
        entries: those of the channel.
        before: whose entries were the same until now: what those remember that stay goes on.
    """

    def __init__(self, entries: Sequence[Entry], before: ChannelRules | None = None) -> None:
        self.entries = tuple(entries)
        self._last: RuleFrame | None = before._last if before is not None else None
        known = before.remembering() if before is not None else []
        self._watchers = [_watcher_of(entry, known) for entry in self.entries]
        if not any(entry.is_rule for entry in self.entries):
            self._linker = None
        else:
            self._linker = (before and before._linker) or Linker()

    def remembering(self) -> list[tuple[Entry, Watcher]]:
        """Each entry with what remembers for it."""
        return list(zip(self.entries, self._watchers, strict=True))

    def __len__(self) -> int:
        """How many objects the rules remember."""
        return sum(len(one) for one in self._watchers if not isinstance(one, ObjectFilter))

    def end(self) -> list[RuleEvent]:
        """What the rules still have to tell when the source has ended or is interrupted; ``reset`` comes next."""
        if self._last is None:
            return []
        last, self._last = self._last, None
        rules = [(i, one) for i, one in enumerate(self._watchers) if not isinstance(one, ObjectFilter)]
        return [dataclasses.replace(event, rule=number) for number, rule in rules for event in rule.end(last)]

    def reset(self) -> None:
        """Forgets all objects: what comes next has nothing to do with what was."""
        self._last = None
        if self._linker is not None:
            self._linker.reset()
        for watcher in self._watchers:
            watcher.reset()

    def update(
        self,
        detections: Detections,
        *,
        step: int,
        clock_s: float,
        timestamp_us: int,
        size_wh: tuple[int, int],
        texts: Sequence[str] = (),
    ) -> Outcome:
        """Takes the next processed frame, also one without objects.

        Args:
            detections: all objects of the frame.
            step: number of the processed frame, growing from call to call.
            clock_s: the source's own time.
            timestamp_us: wall clock in microseconds since the epoch; 0 for none.
            size_wh: of the frame.
            texts: what was read of each object, or empty; ``()`` when nobody reads.
        """
        frame = RuleFrame(
            step=step,
            clock_s=clock_s,
            timestamp_us=timestamp_us,
            size_wh=size_wh,
            detections=detections,
            identities=self._identities(detections, clock_s, size_wh),
        )
        self._last = frame
        kept = np.zeros(len(detections), dtype=np.bool_)
        events: list[RuleEvent] = []
        areas: list[Points] = []
        for number, watcher in enumerate(self._watchers):
            if isinstance(watcher, ObjectFilter):
                found = watcher.passing(frame, texts)
                kept |= found.mask
                areas += [watcher.spec.areas[area] for area in found.areas]
            else:
                happened = [dataclasses.replace(event, rule=number) for event in watcher.update(frame)]
                if happened:
                    kept[[event.row for event in happened if event.row >= 0]] = True
                    areas += _places_of(self.entries[number].spec, happened)
                    events += happened
        ruled = self._linker is not None
        return Outcome(kept=kept, events=events if ruled else None, areas=areas, identities=frame.identities)

    def _identities(self, detections: Detections, clock_s: float, size_wh: tuple[int, int]) -> npt.NDArray[np.int64]:
        if self._linker is None:
            return np.maximum(detections.track_ids, 0)
        return self._linker.update(clock_s, detections.track_ids, detections.boxes_xyxy, detections.class_ids, size_wh)


def _watcher_of(entry: Entry, known: list[tuple[Entry, Watcher]]) -> Watcher:
    """The one that an equal entry had before, taken out of ``known``, or else a new one."""
    for i, (other, _) in enumerate(known):
        if other.written == entry.written:
            return known.pop(i)[1]
    return make_rule(entry.spec) if isinstance(entry.spec, RuleSpec) else ObjectFilter(entry.spec)


def _places_of(spec: FilterSpec | RuleSpec, events: Sequence[RuleEvent]) -> Iterator[Points]:
    """Where it happened; of a line with corners each straight part."""
    assert isinstance(spec, RuleSpec)
    places = spec.include if spec.kind is RuleKind.AREA or spec.include else spec.lines
    for place in sorted({event.place for event in events if 0 <= event.place < len(places)}):
        points = places[place]
        if places is spec.include:
            yield points
        else:
            yield from (points[i : i + 2] for i in range(len(points) - 1))
