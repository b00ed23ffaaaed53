"""How many people come and go: through a door (areas), across lines, or past the camera (neither drawn).

* Areas: whose anchor goes from outside to inside came in, and the other way went out. Who is first seen in the depth
  of the area was there before: no entry; who vanishes in it did not go out, but is not there any more. Who is first
  seen right behind the area's edge and walks on inwards at once came in: the tracker was late.
* Lines: who goes across one along its arrow came in, against it went out (``CrossingRule``).
* Neither, or an area that is the whole picture: each person came in once it was seen, and went out when it has been
  gone for ``rearm_s``.

A person is who was seen for ``_SURE_S`` and in two processed frames at least, and is more than an arm that reaches in
(``geometry.reach``); nobody else counts anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from streamserver.core.events import IN, OUT, Kind, RuleEvent
from streamserver.geometry.boxes import center_points, foot_points
from streamserver.geometry.polygons import BORDER_TOLERANCE_PX, points_in_polygon
from streamserver.geometry.reach import Reach
from streamserver.geometry.rules.conditions import Qualifier
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.pacing import MISSED_FRAMES, MISSED_S, MOST_REMEMBERED
from streamserver.geometry.rules.rule import Polygon, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.rules.zone import Zone
from streamserver.geometry.tripwire import band_px

_SURE_S = 1.0
_SURE_FRAMES = 2
_LATE_S = 2.0
_LATE_SHARE = 0.25
"""Of a box's height: a tracker begins up to that far behind the edge of an area with somebody who came over it."""

Edges = npt.NDArray[np.float64]
"""Start and end of each edge, (m, 2, 2)."""


@dataclass(slots=True)
class _Visit:
    """What is remembered of one person.

    ``inside`` is whether it was inside the area when last clearly on one side of its edge (at first, whenever it was
    seen); ``late_px`` how far behind the edge it began, 0 for outside or in the depth; ``waiting`` the directions that
    are to be told once it is sure, of lines with the line; ``counted`` whether it has been told as in.
    """

    first_s: float
    last_s: float
    last_step: int
    inside: bool
    late_px: float
    came_s: float
    event: RuleEvent
    reach: Reach
    frames: int = 0
    may_be_arm: bool = False
    waiting: list[tuple[str, int | None]] = field(default_factory=list)
    counted: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether it is a person."""
        return self.frames >= _SURE_FRAMES and self.last_s - self.first_s >= _SURE_S and not self.may_be_arm

    def is_there(self, step: int, clock_s: float) -> bool:
        """Whether it was seen just now; detectors blink."""
        return step - self.last_step <= MISSED_FRAMES or clock_s - self.last_s <= MISSED_S


class FlowRule:
    """Counts those who pass one channel's view, its areas or its lines; raises ``FLOW`` and ``COUNT`` events.

    Attributes:
        current: people that are counted as there now: in the area, or in view where there is none.
        present: who they are.
    """

    def __init__(self, spec: RuleSpec) -> None:
        self.current = 0
        self.present: frozenset[int] = frozenset()
        self._spec = spec
        self._qualifier = Qualifier(spec.conditions, spec.anchor, spec.share)
        across = replace(spec, kind=RuleKind.CROSS, both_ways=True, first=0, every=1, cooldown_s=0.0)
        self._crossing = CrossingRule(across) if spec.lines else None
        self._zone = Zone(spec.include, anchor=spec.anchor, share=spec.share)
        self._size_wh = (0, 0)
        self._is_everywhere = True
        self._edges: Edges = np.zeros((0, 2, 2))
        self._visits: dict[int, _Visit] = {}  # those seen longest ago come first
        self._clock_s: float | None = None
        self._uncounted_s = 0.0

    def __len__(self) -> int:
        """How many people are remembered."""
        return max(len(self._visits), len(self._qualifier), 0 if self._crossing is None else len(self._crossing))

    def reset(self) -> None:
        """Forgets everybody; the next ``COUNT`` comes when it would have come."""
        self.current, self.present = 0, frozenset()
        self._visits.clear()
        self._qualifier.reset()
        self._clock_s = None
        if self._crossing is not None:
            self._crossing.reset()

    def update(self, frame: RuleFrame) -> list[RuleEvent]:
        """Takes the next processed frame; who came, who went and, when it is time, how many there are."""
        self._measure(frame.size_wh)
        wanted = self._qualifier.on(frame)
        seen = self._follow(frame)
        for event in self._crossing.update(frame) if self._crossing is not None else ():
            self._visits[event.track_id].waiting.append((event.direction, event.place))
        events = [event for visit in seen for event in self._told(visit, frame.clock_s, wanted)]
        events += self._forget(frame, wanted)
        self._count_present(frame)
        told = [replace(event, count=self.current) for event in events]
        return told + self._count_events(frame.clock_s, wanted)

    def end(self, frame: RuleFrame) -> list[RuleEvent]:
        """Nothing comes after ``frame``: who had gone by then went out."""
        if not self._passes_view or not self._qualifier.on(frame):
            return []
        gone = [visit for visit in self._visits.values() if not visit.is_there(frame.step, frame.clock_s)]
        return [replace(_went(visit), count=self.current) for visit in gone if visit.counted]

    @property
    def _has_area(self) -> bool:
        return not self._is_everywhere and self._crossing is None

    @property
    def _passes_view(self) -> bool:
        return self._is_everywhere and self._crossing is None

    def _measure(self, size_wh: tuple[int, int]) -> None:
        if size_wh != self._size_wh:
            self._size_wh = size_wh
            areas = self._spec.include
            self._edges = np.concatenate([np.zeros((0, 2, 2)), *(inner_edges(area, size_wh) for area in areas)])
            self._is_everywhere = not areas or any(_is_everything(area, size_wh) for area in areas)

    def _follow(self, frame: RuleFrame) -> list[_Visit]:
        """Moves everybody on who is seen; returns them."""
        inside, gaps = self._where(frame.detections.boxes_xyxy, frame.identities.tolist())
        qualified = self._qualifier.qualifying(frame)
        seen = []
        for row, identity in enumerate(frame.identities.tolist()):
            if identity <= 0 or (not qualified[row] and identity not in self._visits):
                continue
            visit = self._visits.pop(identity, None) or self._begin(frame, row, bool(inside[row]), float(gaps[row]))
            self._visits[identity] = visit
            visit.last_s, visit.last_step, visit.event = frame.clock_s, frame.step, frame.event(row, Kind.FLOW)
            visit.frames += int(qualified[row])
            visit.may_be_arm = visit.reach.may_be_arm(visit.event.box_xyxy, frame.size_wh)
            self._note_way(visit, bool(inside[row]), float(gaps[row]), frame)
            seen.append(visit)
        return seen

    def _begin(self, frame: RuleFrame, row: int, inside: bool, gap_px: float) -> _Visit:
        """Somebody new, where it was first seen, be it in the frame before the tracker told of it."""
        objects = frame.detections
        if objects.born_xyxy is not None and not np.isnan(objects.born_xyxy[row]).any():
            (inside,), (gap_px,) = (found.tolist() for found in self._where(objects.born_xyxy[row : row + 1], [0]))
        height = float(objects.boxes_xyxy[row, 3] - objects.boxes_xyxy[row, 1])
        margin = max(band_px(height, frame.size_wh[1]), _LATE_SHARE * height)
        event = frame.event(row, Kind.FLOW)
        return _Visit(
            first_s=frame.clock_s,
            last_s=frame.clock_s,
            last_step=frame.step,
            inside=inside,
            late_px=margin if inside and gap_px <= margin else 0.0,
            came_s=frame.clock_s,
            event=event,
            reach=Reach(event.box_xyxy),
        )

    def _note_way(self, visit: _Visit, inside: bool, gap_px: float, frame: RuleFrame) -> None:
        """Follows somebody over the edge of the area: clearly on the other side is through."""
        if not self._has_area:
            return
        box = visit.event.box_xyxy
        if inside != visit.inside and gap_px > band_px(box[3] - box[1], frame.size_wh[1]):
            visit.inside, visit.late_px = inside, 0.0
            self._pass(visit, IN if inside else OUT, frame.clock_s)
        elif visit.late_px and inside and gap_px >= 2 * visit.late_px:
            if frame.clock_s - visit.first_s <= _LATE_S:
                self._pass(visit, IN, visit.first_s)
            visit.late_px = 0.0

    def _pass(self, visit: _Visit, direction: str, at_s: float) -> None:
        """Two passages there and back before it is sure are none."""
        visit.waiting = [] if visit.waiting else [(direction, None)]
        if direction == IN:
            visit.came_s = at_s

    def _told(self, visit: _Visit, clock_s: float, wanted: bool) -> Iterator[RuleEvent]:
        """What is to be told now of somebody who is seen."""
        if not wanted:
            visit.waiting.clear()
        if not wanted or not visit.is_sure:
            return
        if self._passes_view and not visit.counted:
            visit.waiting = [(IN, 0)]
        for direction, place in visit.waiting:
            visit.counted = direction == IN
            stay_s = clock_s - visit.came_s if direction == OUT and place is None else None
            if place is None:
                place = int(self._zone.places([visit.event.box_xyxy], self._size_wh)[0])
            yield replace(visit.event, direction=direction, stay_s=stay_s, place=place)
        visit.waiting.clear()

    def _forget(self, frame: RuleFrame, wanted: bool) -> Iterator[RuleEvent]:
        """Drops those who are gone; without area and lines they went out."""
        most = MISSED_FRAMES if self._passes_view else max(MISSED_FRAMES, self._spec.max_lost)
        while self._visits:
            identity, visit = next(iter(self._visits.items()))
            missed, away_s = frame.step - visit.last_step, frame.clock_s - visit.last_s
            is_gone = missed > most and away_s > max(self._spec.rearm_s, MISSED_S)
            if not is_gone and len(self._visits) <= MOST_REMEMBERED:
                return
            del self._visits[identity]
            if self._passes_view and visit.counted and wanted:
                yield _went(visit)

    def _where(
        self, boxes_xyxy: npt.NDArray[np.float32], identities: Sequence[int]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Which boxes are inside, (n,), and how far from the edge, (n,); shares of boxes are calmed by ``Zone``."""
        far = np.full(len(boxes_xyxy), np.inf)
        points_of = {"foot": foot_points, "center": center_points}.get(self._spec.anchor)
        if not self._has_area:
            return np.ones(len(boxes_xyxy), dtype=np.bool_), far
        if points_of is not None:
            points = np.clip(points_of(boxes_xyxy), 0, self._size_wh)
            return self._zone.holds(boxes_xyxy, self._size_wh), edge_distances(points, self._edges)
        visits = [self._visits.get(identity) for identity in identities]
        already = np.array([visit is not None and visit.inside for visit in visits], dtype=np.bool_)
        return self._zone.holds(boxes_xyxy, self._size_wh, already), far

    def _count_present(self, frame: RuleFrame) -> None:
        recent = itertools.takewhile(
            lambda known: known[1].is_there(frame.step, frame.clock_s), reversed(self._visits.items())
        )
        self.present = frozenset(identity for identity, visit in recent if visit.inside and visit.is_sure)
        self.current = len(self.present)

    def _count_events(self, clock_s: float, wanted: bool) -> list[RuleEvent]:
        """``COUNT`` every ``report_every_s`` of the source's own time; one for a longer gap."""
        self._uncounted_s += 0.0 if self._clock_s is None else max(0.0, clock_s - self._clock_s)
        self._clock_s = clock_s
        every_s = self._spec.report_every_s
        if every_s <= 0 or self._uncounted_s < every_s:
            return []
        self._uncounted_s %= every_s
        return [RuleEvent(kind=Kind.COUNT, count=self.current)] if wanted else []


def _went(visit: _Visit) -> RuleEvent:
    """Somebody who is not seen any more has left the view."""
    return replace(visit.event, row=-1, direction=OUT, stay_s=visit.last_s - visit.came_s)


def inner_edges(polygon: Polygon, size_wh: tuple[int, int]) -> Edges:
    """The edges over which one can walk within the picture, (m, 2, 2): those along its border lead nowhere."""
    far = np.asarray(size_wh, dtype=np.float64) - BORDER_TOLERANCE_PX
    corners = np.asarray(polygon, dtype=np.float64)
    edges = np.stack((corners, np.roll(corners, -1, axis=0)), axis=1)
    along = np.all(edges <= BORDER_TOLERANCE_PX, axis=1) | np.all(edges >= far, axis=1)
    inner: Edges = edges[~along.any(axis=1)]
    return inner


def _is_everything(polygon: Polygon, size_wh: tuple[int, int]) -> bool:
    """Whether it is all of the picture: it has no edge in there, and is not beside it."""
    center = np.array([size_wh], dtype=np.float64) / 2
    return not len(inner_edges(polygon, size_wh)) and bool(points_in_polygon(center, polygon)[0])


def edge_distances(points_xy: npt.NDArray[np.floating], edges: Edges) -> npt.NDArray[np.float64]:
    """How far each point, (n, 2), is from the nearest of the edges, (n,); infinite without edges."""
    start, way = edges[None, :, 0], (edges[:, 1] - edges[:, 0])[None]
    offset = np.asarray(points_xy, dtype=np.float64)[:, None] - start
    length2 = np.sum(way * way, axis=2)
    share = np.clip(np.sum(offset * way, axis=2) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    gap = np.linalg.norm(offset - share[..., None] * way, axis=2)
    nearest: npt.NDArray[np.float64] = np.min(gap, axis=1, initial=np.inf)
    return nearest
