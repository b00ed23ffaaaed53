"""Tracks to identities: a track that was lost in the middle of the picture and begins again nearby is the same one.

A tracker gives up a thing that was hidden for a while, or that it sees again too far from where it expects it, and
gives it a new number. Here a track that begins is taken for one that was lost shortly before if it is of the same class
and about the same size and begins near the way on which that one was last seen going. It is better not to know somebody
again than to take two for one, so the bounds are narrow, and nothing is linked where two would do almost equally well.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import FloatRows, as_rows, xyxy_to_cxcywh

LONGEST_S = 1.8
"""A track that begins later after the loss of another is taken for somebody else."""

FORGET_S = 30.0
"""So long the identity of an unseen track is kept, in case the tracker itself finds it again."""

_FORGET_FRAMES = 300

_NEAR_HEIGHTS = 0.35
_NEAR_HEIGHTS_PER_S = 0.25
"""How far from the expected way a track may begin, in heights of the box: at once, and more with each second."""

_SIZE_RATIO = 1.5
_CLEARLY_BETTER = 0.6
"""Of two that would do, the nearer is taken if its distance is below this share of the other's."""

_VELOCITY_MEMORY_S = 0.7
_BORDER_SHARE = 0.03
_OUTWARD_HEIGHTS_PER_S = 0.1
_AT_ONCE_S = 0.7
"""Who was walking out of the picture when it was lost has left, unless it is back within this time."""


@dataclass(slots=True)
class _Track:
    """What is remembered of one track: its box as centre and size, its velocity in pixels a second."""

    identity: int
    class_id: int
    box_cxcywh: Sequence[float]
    last_s: float
    last_frame: int
    velocity_xy: tuple[float, float] = (0.0, 0.0)
    moves: int = 0

    def move(self, box_cxcywh: Sequence[float], clock_s: float, frame: int) -> None:
        """Takes in where it is now."""
        if (passed_s := clock_s - self.last_s) > 0:
            self.moves += 1
            weight = max(1 / self.moves, -math.expm1(-passed_s / _VELOCITY_MEMORY_S))
            (x, y, *_), (last_x, last_y, *_) = box_cxcywh, self.box_cxcywh
            vx, vy = self.velocity_xy
            vx += weight * ((x - last_x) / passed_s - vx)
            self.velocity_xy = vx, vy + weight * ((y - last_y) / passed_s - vy)
        self.box_cxcywh, self.last_s, self.last_frame = box_cxcywh, clock_s, frame


class Linker:
    """Gives each track of one channel an identity: its own number, or that of a lost track which it continues.

    No two tracks of a frame have the same identity. When the tracker finds a track again whose identity has gone to
    another that is still seen, that one keeps it, and the one that came back gets another number of the two. A track
    is forgotten when it was unseen for ``FORGET_S`` or for 300 frames. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}  # those seen longest ago come first
        self._holders: Counter[int] = Counter()
        self._frame, self._clock_s = 0, 0.0

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._tracks)

    def reset(self) -> None:
        """Forgets all tracks: what comes next has nothing to do with what was."""
        self._tracks.clear()
        self._holders.clear()

    def update(
        self,
        clock_s: float,
        track_ids: npt.NDArray[np.int64],
        boxes_xyxy: npt.ArrayLike,
        class_ids: npt.NDArray[np.int64],
        size_wh: tuple[int, int],
    ) -> npt.NDArray[np.int64]:
        """Takes the tracks of the next processed frame and says who each is.

        Args:
            clock_s: the source's own time.
            track_ids: (n,), those not above 0 are nobody.
            boxes_xyxy: (n, 4), pixels.
            class_ids: (n,).
            size_wh: of the frame.

        Returns:
            Identities, (n,), above 0; 0 for nobody.
        """
        self._frame, self._clock_s = self._frame + 1, clock_s
        self._forget()
        keys = track_ids.tolist()
        boxes = xyxy_to_cxcywh(as_rows(boxes_xyxy).astype(np.float64)).tolist()
        rows = {key: row for row, key in enumerate(keys) if key > 0}
        seen = self._part([key for key in rows if key in self._tracks])
        fresh = {
            key: _Track(0, int(class_ids[row]), boxes[row], clock_s, self._frame)
            for key, row in rows.items()
            if key not in self._tracks
        }
        continued = self._continued(fresh, seen, size_wh)
        for key, track in fresh.items():
            lost = continued.get(key)
            self._name(track, self._free_number([key]) if lost is None else lost.identity)
            if lost is not None:
                track.velocity_xy, track.moves = lost.velocity_xy, lost.moves
            self._tracks[key] = track
        for key, row in rows.items():
            track = self._tracks[key] = self._tracks.pop(key)
            track.move(boxes[row], clock_s, self._frame)
        return np.array([self._tracks[key].identity if key > 0 else 0 for key in keys], dtype=np.int64)

    def _part(self, known: list[int]) -> set[int]:
        """Gives tracks that came back another identity where theirs is another's now; returns all that are seen."""
        seen: dict[int, int] = {}
        for key in sorted(known, key=lambda key: -self._tracks[key].last_frame):
            track = self._tracks[key]
            if track.identity in seen:
                self._name(track, self._free_number([key, seen[track.identity]]))
            seen[track.identity] = key
        return set(seen)

    def _name(self, track: _Track, identity: int) -> None:
        """Gives a track an identity, 0 for none."""
        self._holders[identity] += 1
        self._holders[track.identity] -= 1
        if self._holders[track.identity] <= 0:
            del self._holders[track.identity]
        track.identity = identity

    def _free_number(self, wanted: list[int]) -> int:
        """The first of the wanted numbers that is nobody's identity, else any: tracks outnumber identities."""
        return next(number for number in itertools.chain(wanted, self._tracks) if number not in self._holders)

    def _continued(self, fresh: dict[int, _Track], seen: set[int], size_wh: tuple[int, int]) -> dict[int, _Track]:
        """For fresh tracks the lost ones that they continue; the nearest pairs first."""
        lost = self._lost(seen) if fresh else []
        if not lost:
            return {}
        keys, costs = list(fresh), _costs(lost, list(fresh.values()), size_wh)
        found = {}
        while (best := float(costs.min())) <= 1:
            row, column = (int(i) for i in np.unravel_index(int(costs.argmin()), costs.shape))
            rivals = np.concatenate((np.delete(costs[row], column), np.delete(costs[:, column], row)))
            if not np.any(rivals * _CLEARLY_BETTER < best):
                found[keys[column]] = lost[row]
            costs[row], costs[:, column] = np.inf, np.inf
        return found

    def _lost(self, seen: set[int]) -> list[_Track]:
        """Of each identity that was seen not long ago, and is not now, the last track."""
        latest: dict[int, _Track] = {}
        for track in reversed(self._tracks.values()):
            if self._clock_s - track.last_s > LONGEST_S:
                break
            if track.identity not in seen and self._clock_s > track.last_s:
                latest.setdefault(track.identity, track)
        return list(latest.values())

    def _forget(self) -> None:
        while self._tracks:
            key, track = next(iter(self._tracks.items()))
            if self._clock_s - track.last_s <= FORGET_S and self._frame - track.last_frame <= _FORGET_FRAMES:
                return
            del self._tracks[key]
            self._name(track, 0)


def _costs(lost: list[_Track], fresh: list[_Track], size_wh: tuple[int, int]) -> FloatRows:
    """How badly fresh tracks continue lost ones, (lost, fresh): above 1 not at all."""
    old, new = (np.array([track.box_cxcywh for track in tracks]) for tracks in (lost, fresh))
    velocity = np.array([track.velocity_xy for track in lost])
    unseen_s = fresh[0].last_s - np.array([[track.last_s] for track in lost])
    same_class = np.equal.outer([track.class_id for track in lost], [track.class_id for track in fresh])
    old_wh, new_wh = np.maximum(old[:, None, 2:], 1.0), np.maximum(new[None, :, 2:], 1.0)
    alike = np.all(np.maximum(old_wh / new_wh, new_wh / old_wh) <= _SIZE_RATIO, axis=2)
    old_at, new_at = _borders(old, size_wh), _borders(new, size_wh)
    outward = np.hstack((-velocity, velocity)) > _OUTWARD_HEIGHTS_PER_S * old[:, 3:]
    left, came_in = np.any(outward & old_at, axis=1)[:, None], np.any(new_at[None] & ~old_at[:, None], axis=2)
    possible = same_class & alike & ((unseen_s <= _AT_ONCE_S) | ~(left | came_in))
    way, offsets = (unseen_s * velocity)[:, None], new[None, :, :2] - old[:, None, :2]
    share = np.clip(np.sum(offsets * way, axis=2) / np.maximum(np.sum(way * way, axis=2), 1e-9), 0, 1)
    near = (_NEAR_HEIGHTS + _NEAR_HEIGHTS_PER_S * unseen_s) * np.minimum(old_wh, new_wh)[..., 1]
    costs: FloatRows = np.where(possible, np.linalg.norm(offsets - share[..., None] * way, axis=2) / near, np.inf)
    return costs


def _borders(boxes_cxcywh: FloatRows, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """At which borders of the frame boxes are, (n, 4): left, top, right, bottom."""
    centers, halves = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    gaps = np.hstack((centers - halves, np.asarray(size_wh) - centers - halves))
    at_border: npt.NDArray[np.bool_] = gaps <= _BORDER_SHARE * max(size_wh)
    return at_border
