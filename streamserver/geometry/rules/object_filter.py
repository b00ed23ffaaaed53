"""One filter of one channel: looks at the objects of a frame and says which of them to report now.

Steps: classes, then areas, direction and time, then how often (CONTRACT 3.5, with its defects mended):

* the direction is judged for each object, and holds between two samples (there, one object passes all others, and
  frames between samples fail);
* each filter counts for itself and sees the frame's original objects;
* an object is forgotten by a rule (``Repeats``, ``Heading``, ``Tripwire``), not by chance.

In mode ``cross`` the areas are lines, and the objects are the tracks whose feet have just gone across one of them;
crossings outside the time windows are followed but not reported.

Type 0 counts by the text that was read of an object (a number plate), and where there is none like type 1, by track id.
Objects with neither are counted by class, all of one class as one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.geometry.boxes import foot_points
from streamserver.geometry.lines import Segment, segment_touches_boxes
from streamserver.geometry.polygons import boxes_in_zone, points_in_zone
from streamserver.geometry.rules.conditions import Qualifier
from streamserver.geometry.rules.heading import Heading
from streamserver.geometry.rules.repeats import Repeats
from streamserver.geometry.rules.rule import RuleFrame
from streamserver.geometry.rules.schedule import is_on
from streamserver.geometry.rules.spec import BY_PLATE, BY_TRACK, AreaPoints, FilterSpec
from streamserver.geometry.tripwire import Tripwire, TripwireOptions

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Passing:
    """What a filter lets through.

    Attributes:
        mask: bool (n,), the objects to report now.
        areas: numbers of the areas that let one of them pass, of several fitting an object the first; growing.
    """

    mask: Mask
    areas: tuple[int, ...] = ()


class ObjectFilter:
    """Applies one ``FilterSpec`` to the frames of one channel, in order. Not for several threads at once."""

    def __init__(self, spec: FilterSpec) -> None:
        self.spec = spec
        self._qualifier = Qualifier(spec.conditions, anchor="foot" if spec.by_foot or spec.crossing else "box")
        self._tripwires = [_tripwire(points, spec) for points in spec.areas] if spec.crossing else []
        self._repeats = Repeats(first=spec.first, every=spec.every)
        directed = spec.kind == BY_TRACK and spec.direction_xy != (0.0, 0.0) and not spec.crossing
        self._heading = Heading(spec.direction_xy, interval=spec.interval) if directed else None

    def reset(self) -> None:
        """Forgets all objects: what comes next has nothing to do with what was."""
        self._qualifier.reset()
        self._repeats.reset()
        if self._heading is not None:
            self._heading.reset()
        for tripwire in self._tripwires:
            tripwire.reset()

    def passing(self, frame: RuleFrame, texts: Sequence[str] = ()) -> Passing:
        """Which objects to report now.

        Args:
            frame: the next processed one.
            texts: what was read of each object, or empty; ``()`` when nobody reads.
        """
        detections = frame.detections
        result = np.zeros(len(detections), dtype=np.bool_)
        if not len(detections):  # what is remembered goes by the frame's number, and is forgotten with the next object
            return Passing(result)
        wanted = np.isin(detections.class_ids, self.spec.classes)
        candidates = np.flatnonzero(wanted & self._qualifier.qualifying(frame))
        objects = detections.select(candidates)
        fitting = self._first_fitting(objects, frame.step, frame.size_wh)
        by_text = self.spec.kind == BY_PLATE and bool(texts)
        names = [_name(objects, row, texts[i] if by_text else "") for row, i in enumerate(candidates.tolist())]
        due = self._due(objects, fitting >= 0, names, frame)
        result[candidates] = due
        return Passing(result, tuple(np.unique(fitting[due]).tolist()))

    def _first_fitting(self, objects: Detections, step: int, size_wh: tuple[int, int]) -> Indices:
        """For each object the first area it qualifies in, or -1. Tripwires see every frame."""
        if self.spec.crossing:
            fits = self._crossing_now(objects, step, size_wh)
        else:
            fits = areas_holding(objects, self.spec, size_wh)
        return np.where(fits.any(axis=0), fits.argmax(axis=0), -1) if len(fits) else np.full(len(objects), -1)

    def _due(self, objects: Detections, qualified: Mask, names: list[Hashable], frame: RuleFrame) -> Mask:
        """Of the objects that qualify by their place those to report; headings see every frame, counters do not."""
        if self._heading is not None:
            qualified = qualified & self._heading.update(frame.step, objects.track_ids, objects.boxes_xyxy)
        if not (is_on(self.spec.windows, frame.timestamp_us) and self._qualifier.on(frame)):
            qualified = np.zeros_like(qualified)
        if self.spec.crossing or self.spec.kind not in (BY_PLATE, BY_TRACK):
            return qualified
        due = self._repeats.update(frame.step, [name for name, hit in zip(names, qualified, strict=True) if hit])
        return qualified & np.array([name in due for name in names], dtype=np.bool_)

    def _crossing_now(self, objects: Detections, step: int, size_wh: tuple[int, int]) -> Mask:
        """Which tracks cross each line now, (lines, n)."""
        crossing = [
            np.isin(objects.track_ids, tripwire.update(step, objects.track_ids, objects.boxes_xyxy, size_wh))
            for tripwire in self._tripwires
        ]
        return np.array(crossing, dtype=np.bool_).reshape(len(crossing), len(objects))


def areas_holding(objects: Detections, spec: FilterSpec, size_wh: tuple[int, int]) -> Mask:
    """Which objects are in, or for lines on, each of the areas, (areas, n)."""
    fits = [_in_area(objects, points, spec.by_foot, size_wh) for points in spec.areas]
    return np.array(fits, dtype=np.bool_).reshape(len(fits), len(objects))


def _in_area(objects: Detections, points: AreaPoints, by_foot: bool, size_wh: tuple[int, int]) -> Mask:
    if not len(points):
        return np.ones(len(objects), dtype=np.bool_)
    if len(points) <= 2:
        return segment_touches_boxes(points[0], points[-1], objects.boxes_xyxy)
    if by_foot:
        return points_in_zone(foot_points(objects.boxes_xyxy), points, size_wh)
    return boxes_in_zone(objects.boxes_xyxy, points, size_wh)


def _name(objects: Detections, row: int, text: str = "") -> Hashable:
    if text:
        return ("text", text)
    track_id = int(objects.track_ids[row])
    return ("track", track_id) if track_id > 0 else ("class", int(objects.class_ids[row]))


def _tripwire(points: AreaPoints, spec: FilterSpec) -> Tripwire:
    (x1, y1), (x2, y2) = points.tolist()
    options = TripwireOptions(
        direction_xy=spec.direction_xy, min_frames=spec.first, repeat_frames=spec.every, max_lost=spec.max_lost
    )
    return Tripwire(Segment((x1, y1), (x2, y2)), options)
