"""How many people come and go: through a door (areas), across lines, or past the camera (neither drawn).

* Areas: whose anchor goes from outside to inside came in, and the other way went out. Who is first seen in the depth
  of the area was there before: no entry; who vanishes in it did not go out, but is not there any more. Who is first
  seen right behind the area's edge and walks on inwards at once came in: the tracker was late.
* Lines: who goes across one along its arrow came in, against it went out (``CrossingRule``).
* Neither, or an area that is the whole picture: each person came in once it has been seen long enough to be sure, and
  went out when it has been gone for ``rearm_s``. An arm that reaches into the picture is found as a person too, so the
  head has to have been in it: the box's upper edge clearly below the picture's.

What is there too short to be sure (``_SURE_S``, at least two processed frames) counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from streamserver.core.events import IN, OUT, Kind, RuleEvent
from streamserver.core.results import BoxXyxy
from streamserver.geometry.boxes import center_points, foot_points
from streamserver.geometry.polygons import BORDER_TOLERANCE_PX
from streamserver.geometry.rules.conditions import Qualifier
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.rule import Polygon, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.rules.zone import Zone
from streamserver.geometry.tripwire import band_px

_SURE_S = 1.0
_SURE_FRAMES = 2
_MISSED_S = 1.0
"""Who is not seen for so long, or for two processed frames, is still counted as there: detectors blink."""

_MISSED_FRAMES = 2
_LATE_S = 2.0
_LATE_SHARE = 0.25
"""Of a box's height: a tracker begins up to that far behind the edge of an area with somebody who came over it."""

_HEAD_SHARE = 0.02
"""Of the picture's height: boxes of what is cut off begin within that much of its upper edge."""

Edges = npt.NDArray[np.float64]
"""Start and end of each edge, (m, 2, 2)."""


@dataclass(slots=True)
class _Visit:
    """What is remembered of one person.

    ``headed`` is whether its head was ever in the picture; ``inside`` whether it was inside the area when last clearly
    on one side of its edge (at first, whenever it was seen); ``late_px`` how far behind the edge it began, 0 for
    outside or in the depth; ``waiting`` the direction that is to be told once it is sure; ``counted`` whether it has
    been told as in.
    """

    first_s: float
    last_s: float
    last_step: int
    inside: bool
    late_px: float
    came_s: float
    event: RuleEvent
    frames: int = 0
    headed: bool = False
    waiting: str = ""
    counted: bool = False


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
        across = replace(spec, kind=RuleKind.CROSS, both_ways=True, every=1, cooldown_s=0.0)
        self._crossing = CrossingRule(across) if spec.lines else None
        self._zone = Zone(spec.include, anchor=spec.anchor, share=spec.share)
        self._size_wh = (0, 0)
        self._edges: Edges = np.zeros((0, 2, 2))
        self._visits: dict[int, _Visit] = {}
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
        came = list(self._follow(frame, wanted))
        gone = list(self._forget(frame, wanted))
        crossed = self._crossing.update(frame) if self._crossing is not None else []
        self._count_present(frame)
        events = [replace(event, kind=Kind.FLOW, count=self.current) for event in (*crossed, *came, *gone)]
        return events + self._count_events(frame.clock_s, wanted)

    @property
    def _has_area(self) -> bool:
        return bool(len(self._edges)) and self._crossing is None

    @property
    def _passes_view(self) -> bool:
        return not len(self._edges) and self._crossing is None

    def _measure(self, size_wh: tuple[int, int]) -> None:
        if size_wh != self._size_wh:
            self._size_wh = size_wh
            self._edges = inner_edges(self._spec.include, size_wh)

    def _follow(self, frame: RuleFrame, wanted: bool) -> Iterator[RuleEvent]:
        """Moves everybody on who is seen; yields those to tell now."""
        inside, gaps = self._where(frame.detections.boxes_xyxy, frame.identities.tolist())
        qualified = self._qualifier.qualifying(frame)
        for row, identity in enumerate(frame.identities.tolist()):
            if identity <= 0 or (not qualified[row] and identity not in self._visits):
                continue
            visit = self._visits.get(identity) or self._begin(frame, row, bool(inside[row]), float(gaps[row]))
            visit.last_s, visit.last_step, visit.event = frame.clock_s, frame.step, _event_of(frame, row)
            visit.frames += int(qualified[row])
            visit.headed |= visit.event.box_xyxy[1] > _HEAD_SHARE * frame.size_wh[1]
            self._note_way(visit, bool(inside[row]), float(gaps[row]), frame)
            told = self._told(visit, frame.clock_s, wanted)
            if told is not None:
                yield told

    def _begin(self, frame: RuleFrame, row: int, inside: bool, gap_px: float) -> _Visit:
        """Somebody new, where it was first seen, be it in the frame before the tracker told of it."""
        objects = frame.detections
        if objects.born_xyxy is not None and not np.isnan(objects.born_xyxy[row]).any():
            (inside,), (gap_px,) = (found.tolist() for found in self._where(objects.born_xyxy[row : row + 1], [0]))
        height = float(objects.boxes_xyxy[row, 3] - objects.boxes_xyxy[row, 1])
        margin = max(band_px(height, frame.size_wh[1]), _LATE_SHARE * height)
        visit = _Visit(
            first_s=frame.clock_s,
            last_s=frame.clock_s,
            last_step=frame.step,
            inside=inside,
            late_px=margin if inside and gap_px <= margin else 0.0,
            came_s=frame.clock_s,
            event=_event_of(frame, row),
        )
        self._visits[int(frame.identities[row])] = visit
        return visit

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
        visit.waiting = "" if visit.waiting else direction
        if direction == IN:
            visit.came_s = at_s

    def _told(self, visit: _Visit, clock_s: float, wanted: bool) -> RuleEvent | None:
        if not wanted:
            visit.waiting = ""
            return None
        if self._crossing is not None or not self._is_sure(visit):
            return None
        if self._has_area:
            direction, visit.waiting = visit.waiting, ""
        else:
            direction = "" if visit.counted else IN
        if not direction:
            return None
        visit.counted = direction == IN
        stay_s = clock_s - visit.came_s if direction == OUT else None
        place = int(self._zone.places([visit.event.box_xyxy], self._size_wh)[0]) if self._has_area else 0
        return replace(visit.event, direction=direction, stay_s=stay_s, place=place)

    def _is_sure(self, visit: _Visit) -> bool:
        if visit.frames < _SURE_FRAMES or (self._passes_view and not visit.headed):
            return False
        return visit.frames >= max(self._spec.first, _SURE_FRAMES) or visit.last_s - visit.first_s >= _SURE_S

    def _forget(self, frame: RuleFrame, wanted: bool) -> Iterator[RuleEvent]:
        """Drops those who are gone; without area and lines they went out."""
        for identity, visit in list(self._visits.items()):
            missed, away_s = frame.step - visit.last_step, frame.clock_s - visit.last_s
            if missed <= _MISSED_FRAMES or away_s <= max(self._spec.rearm_s, _MISSED_S):
                continue
            if not self._passes_view and missed <= self._spec.max_lost:
                continue
            del self._visits[identity]
            if self._passes_view and visit.counted and wanted:
                stay_s = visit.last_s - visit.came_s
                yield replace(visit.event, row=-1, direction=OUT, stay_s=stay_s)

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
        self.present = frozenset(
            identity
            for identity, visit in self._visits.items()
            if visit.inside
            and self._is_sure(visit)
            and (frame.step - visit.last_step <= _MISSED_FRAMES or frame.clock_s - visit.last_s <= _MISSED_S)
        )
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


def _event_of(frame: RuleFrame, row: int) -> RuleEvent:
    left, top, right, bottom = (round(float(value)) for value in frame.detections.boxes_xyxy[row])
    box_xyxy: BoxXyxy = (left, top, right, bottom)
    return RuleEvent(
        kind=Kind.FLOW,
        track_id=int(frame.identities[row]),
        row=row,
        class_id=int(frame.detections.class_ids[row]),
        score=float(frame.detections.scores[row]),
        box_xyxy=box_xyxy,
    )


def inner_edges(polygons: tuple[Polygon, ...], size_wh: tuple[int, int]) -> Edges:
    """The edges over which one can walk within the picture, (m, 2, 2): those along its border lead nowhere.

    None at all when one of the polygons is the whole picture.
    """
    far = np.asarray(size_wh, dtype=np.float64) - BORDER_TOLERANCE_PX
    found = [np.zeros((0, 2, 2))]
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64)
        edges = np.stack((corners, np.roll(corners, -1, axis=0)), axis=1)
        along = np.all(edges <= BORDER_TOLERANCE_PX, axis=1) | np.all(edges >= far, axis=1)
        inner: Edges = edges[~along.any(axis=1)]
        if not len(inner):
            return inner
        found.append(inner)
    return np.concatenate(found)


def edge_distances(points_xy: npt.NDArray[np.floating], edges: Edges) -> npt.NDArray[np.float64]:
    """How far each point, (n, 2), is from the nearest of the edges, (n,); infinite without edges."""
    start, way = edges[None, :, 0], (edges[:, 1] - edges[:, 0])[None]
    offset = np.asarray(points_xy, dtype=np.float64)[:, None] - start
    length2 = np.sum(way * way, axis=2)
    share = np.clip(np.sum(offset * way, axis=2) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    gap = np.linalg.norm(offset - share[..., None] * way, axis=2)
    nearest: npt.NDArray[np.float64] = np.min(gap, axis=1, initial=np.inf)
    return nearest
