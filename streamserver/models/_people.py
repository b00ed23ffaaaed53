"""From heat maps and part affinity fields to people (Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part
Affinity Fields", 2017), with the limits of sophon-stream's openpose (CONTRACT 3.3).

Coordinates are pixels of the *grid*: the maps enlarged to the size of the network's input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.models._skeletons import Skeleton

MAX_PEOPLE = 96
MIN_JOINTS = 3
MIN_MEAN_SCORE = 0.4
"""Of the scores of a person's joints and limbs together, by joint."""
FIELD_SAMPLES = 10
MIN_FIELD = 0.05
"""A limb's field must be stronger than this along the limb, at every sample."""

_REACH = 3
"""A peak's place is the centre of mass of the pixels up to this far from its highest one."""
_OVERSHOOT = 1.9
"""Enlarging by cubic interpolation makes no value larger than this times the largest there was: (1 + 6/16)²."""
_BEFORE = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=np.uint8)
_AFTER = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 1]], dtype=np.uint8)
"""The neighbours of a pixel that are read before it, and after."""
_TINY = 1e-6

Connection = tuple[int, int, float]
"""Numbers of two peaks and the score of the limb between them."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """The peaks of one joint's heat map, from top to bottom.

    Attributes:
        points_xy: float32 (n, 2), in pixels of the grid.
        scores: float32 (n,).
    """

    points_xy: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.scores)


class _Person:
    """What has been put together of one person: the number of each joint's peak, -1 for none."""

    __slots__ = ("count", "peaks", "score")

    def __init__(self, joints: int) -> None:
        self.peaks = [-1] * joints
        self.count = 0
        self.score = 0.0

    def add(self, joint: int, peak: int, score: float) -> None:
        """A joint more, with its score and that of the limb it was found by."""
        self.peaks[joint] = peak
        self.count += 1
        self.score += score


def find_people(
    skeleton: Skeleton,
    heat_maps: FloatArray,
    field_maps: FloatArray,
    *,
    grid_wh: tuple[int, int],
    peak_threshold: float,
) -> list[FloatArray]:
    """The people in one picture.

    Args:
        skeleton: what the maps mean.
        heat_maps: (joints or more, h, w); what follows the joints (the background) is not looked at.
        field_maps: (2 * limbs, h, w).
        grid_wh: width and height of the grid.
        peak_threshold: a joint's score is above it.

    Returns:
        float32 (joints, 3) each: x, y in pixels of the grid, score; 0, 0, 0 for a joint that was not found.
    """
    peaks = [find_peaks(heat_map, grid_wh, threshold=peak_threshold) for heat_map in heat_maps[: skeleton.joints]]
    limbs = []
    for (start, end), field in zip(skeleton.limbs, skeleton.fields, strict=True):
        limbs.append(connect(peaks[start], peaks[end], field_maps[field : field + 2], grid_wh))
    people = _assemble(skeleton, peaks, limbs)
    return [_keypoints(person, peaks) for person in people]


def find_peaks(heat_map: FloatArray, grid_wh: tuple[int, int], *, threshold: float) -> Peaks:
    """Where an enlarged heat map is above ``threshold`` and higher than at all 8 neighbours; its border has none.

    Of neighbours that are equally high, as between the pixels that an even enlargement makes of one, the first counts.
    Of more than ``MAX_PEOPLE`` peaks the highest are taken. The place is the centre of mass of the positive values
    around.
    """
    if np.abs(heat_map).max() * _OVERSHOOT <= threshold:
        return Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    grid = _enlarged(heat_map, grid_wh)
    higher = (grid > threshold) & (grid > cv2.dilate(grid, _BEFORE)) & (grid >= cv2.dilate(grid, _AFTER))
    rows, columns = np.nonzero(higher[1:-1, 1:-1])
    rows, columns = rows + 1, columns + 1
    scores = grid[rows, columns]
    if len(scores) > MAX_PEOPLE:
        best = np.sort(np.argsort(-scores, kind="stable")[:MAX_PEOPLE])
        rows, columns, scores = rows[best], columns[best], scores[best]
    return Peaks(_centres_of_mass(grid, rows, columns), scores.astype(np.float32))


def connect(starts: Peaks, ends: Peaks, field_xy: FloatArray, grid_wh: tuple[int, int]) -> list[Connection]:
    """The limbs between two joints: the best first, no peak twice.

    Args:
        starts: where a limb may begin.
        ends: where it may end.
        field_xy: (2, h, w), the limb's part affinity field.
        grid_wh: width and height of the grid.
    """
    if not len(starts) or not len(ends):
        return []
    ways = ends.points_xy[None] - starts.points_xy[:, None]
    lengths = np.linalg.norm(ways, axis=2)
    steps = (np.arange(FIELD_SAMPLES) / FIELD_SAMPLES).astype(np.float32)
    samples_xy = starts.points_xy[:, None, None] + ways[:, :, None] * steps[:, None]
    columns, rows = np.moveaxis(np.minimum((samples_xy + 0.5).astype(np.intp), np.array(grid_wh) - 1), -1, 0)
    field = np.stack([_enlarged(component, grid_wh)[rows, columns] for component in field_xy])
    directions = ways / np.maximum(lengths, _TINY)[:, :, None]
    along = np.einsum("cabs,abc->abs", field, directions)
    good = (along > MIN_FIELD).all(axis=2) & (lengths > _TINY)
    return _best_pairs(np.where(good, along.mean(axis=2), -np.inf))


def _centres_of_mass(grid: FloatArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> FloatArray:
    """(n, 2), x and y, around each pixel; what lies outside of the grid has no mass."""
    shift = np.arange(-_REACH, _REACH + 1)
    y, x = rows[:, None] + shift, columns[:, None] + shift
    y_inside, x_inside = (y >= 0) & (y < grid.shape[0]), (x >= 0) & (x < grid.shape[1])
    windows = grid[np.where(y_inside, y, 0)[:, :, None], np.where(x_inside, x, 0)[:, None, :]]
    windows = np.maximum(windows, 0) * (y_inside[:, :, None] & x_inside[:, None, :])
    mass = windows.sum(axis=(1, 2))
    x = columns + (windows.sum(axis=1) * shift).sum(axis=1) / mass
    y = rows + (windows.sum(axis=2) * shift).sum(axis=1) / mass
    return np.stack([x, y], axis=1).astype(np.float32)


def _enlarged(values: FloatArray, grid_wh: tuple[int, int]) -> FloatArray:
    """A map (h, w) in the size of the grid."""
    plane = cv2.resize(np.ascontiguousarray(values), grid_wh, interpolation=cv2.INTER_CUBIC)
    return np.asarray(plane, dtype=np.float32)


def _best_pairs(scores: FloatArray) -> list[Connection]:
    """Pairs (row, column, score) of finite scores: the best first, no row and no column twice."""
    rows, columns = np.nonzero(np.isfinite(scores))
    order = np.lexsort((columns, rows, scores[rows, columns]))[::-1]
    free_rows, free_columns = [True] * scores.shape[0], [True] * scores.shape[1]
    pairs: list[Connection] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column, float(scores[row, column])))
    return pairs


def _assemble(skeleton: Skeleton, peaks: Sequence[Peaks], limbs: Sequence[Sequence[Connection]]) -> list[_Person]:
    """Puts limbs that share a joint together, and keeps the people who are complete and certain enough."""
    people: list[_Person] = []
    owners: dict[tuple[int, int], list[_Person]] = defaultdict(list)
    for number, ((start, end), connections) in enumerate(zip(skeleton.limbs, limbs, strict=True)):
        if not len(peaks[start]) or not len(peaks[end]):
            _add_lone(people, owners, peaks, start if len(peaks[start]) else end, skeleton.joints)
        elif number in skeleton.spare_limbs:
            _fill_gaps(owners, start, end, connections)
        else:
            for first, second, score in connections:
                gain = float(peaks[end].scores[second]) + score
                if not owners[start, first]:
                    person = _Person(skeleton.joints)
                    person.add(start, first, float(peaks[start].scores[first]))
                    people.append(person)
                    owners[start, first].append(person)
                for person in owners[start, first]:
                    person.add(end, second, gain)
                    owners[end, second].append(person)
    good = [p for p in people if p.count >= MIN_JOINTS and p.score / p.count > MIN_MEAN_SCORE]
    return good[:MAX_PEOPLE]


def _add_lone(
    people: list[_Person],
    owners: dict[tuple[int, int], list[_Person]],
    peaks: Sequence[Peaks],
    joint: int,
    joints: int,
) -> None:
    """A limb whose other joint is nowhere in the picture: each of its peaks may still be the root of other limbs."""
    for peak, score in enumerate(peaks[joint].scores.tolist()):
        if not owners[joint, peak]:
            person = _Person(joints)
            person.add(joint, peak, score)
            people.append(person)
            owners[joint, peak].append(person)


def _fill_gaps(
    owners: dict[tuple[int, int], list[_Person]], start: int, end: int, connections: Sequence[Connection]
) -> None:
    """Limbs that lead to a joint a second way: they complete people, and neither begin nor count."""
    for first, second, _ in connections:
        for person in owners[start, first]:
            if person.peaks[end] < 0:
                person.peaks[end] = second
                owners[end, second].append(person)
        for person in owners[end, second]:
            if person.peaks[start] < 0:
                person.peaks[start] = first
                owners[start, first].append(person)


def _keypoints(person: _Person, peaks: Sequence[Peaks]) -> FloatArray:
    keypoints = np.zeros((len(peaks), 3), dtype=np.float32)
    for joint, peak in enumerate(person.peaks):
        if peak >= 0:
            keypoints[joint, :2] = peaks[joint].points_xy[peak]
            keypoints[joint, 2] = peaks[joint].scores[peak]
    return keypoints
