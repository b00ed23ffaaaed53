"""OpenPose's decoding once more, pixel by pixel and pair by pair, for comparison; slow and meant to be obvious."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]

COCO_PAIRS = [1, 2, 1, 5, 2, 3, 3, 4, 5, 6, 6, 7, 1, 8, 8, 9, 9, 10, 1, 11, 11, 12, 12, 13, 1, 0, 0, 14, 14, 16]
COCO_PAIRS += [0, 15, 15, 17, 2, 16, 5, 17]
COCO_MAPS = [31, 32, 39, 40, 33, 34, 35, 36, 41, 42, 43, 44, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 47, 48]
COCO_MAPS += [49, 50, 53, 54, 51, 52, 55, 56, 37, 38, 45, 46]
BODY_PAIRS = [1, 8, 1, 2, 1, 5, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 10, 11, 8, 12, 12, 13, 13, 14, 1, 0, 0, 15, 15, 17]
BODY_PAIRS += [0, 16, 16, 18, 2, 17, 5, 18, 14, 19, 19, 20, 14, 21, 11, 22, 22, 23, 11, 24]
BODY_MAPS = [26, 27, 40, 41, 48, 49, 42, 43, 44, 45, 50, 51, 52, 53, 32, 33, 28, 29, 30, 31, 34, 35, 36, 37, 38, 39]
BODY_MAPS += [56, 57, 58, 59, 62, 63, 60, 61, 64, 65, 46, 47, 54, 55, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77]
TABLES = {18: (COCO_PAIRS, COCO_MAPS, (17, 18)), 25: (BODY_PAIRS, BODY_MAPS, (18, 19))}
"""By number of joints: pairs of joints, pairs of maps in the joined output, and which pairs lead to the ears again."""

Peak = tuple[float, float, float]


@dataclass
class Person:
    """Which peak each joint has."""

    peaks: dict[int, int] = field(default_factory=dict)
    count: int = 0
    score: float = 0.0


def reference_people(maps: Map, joints: int, grid_wh: tuple[int, int], threshold: float) -> list[Map]:
    """Key points (joints, 3) of each person, in pixels of the grid, from all maps (57 or 78, h, w)."""
    pairs, places, ears = TABLES[joints]
    grid = [cv2.resize(plane, grid_wh, interpolation=cv2.INTER_CUBIC) for plane in maps]
    peaks = [reference_peaks(grid[joint], threshold) for joint in range(joints)]
    people: list[Person] = []
    for limb in range(len(pairs) // 2):
        start, end = pairs[2 * limb : 2 * limb + 2]
        if not peaks[start] or not peaks[end]:
            for joint in (start, end):
                for number, peak in enumerate(peaks[joint]):
                    if not any(person.peaks.get(joint) == number for person in people):
                        people.append(Person({joint: number}, 1, peak[2]))
            continue
        links = reference_links(peaks[start], peaks[end], grid[places[2 * limb]], grid[places[2 * limb + 1]])
        for first, second, score in links:
            if limb in ears:
                for person in people:
                    if person.peaks.get(start) == first and end not in person.peaks:
                        person.peaks[end] = second
                    elif person.peaks.get(end) == second and start not in person.peaks:
                        person.peaks[start] = first
                continue
            owners = [person for person in people if person.peaks.get(start) == first]
            if not owners:
                owners = [Person({start: first}, 1, peaks[start][first][2])]
                people += owners
            for person in owners:
                person.peaks[end] = second
                person.count += 1
                person.score += peaks[end][second][2] + score
    good = [person for person in people if person.count >= 3 and person.score / person.count > 0.4]
    return [_keypoints(person, peaks) for person in good[:96]]


def reference_peaks(plane: Map, threshold: float) -> list[Peak]:
    """x, y, score of each pixel above the threshold that is higher than all 8 neighbours."""
    height, width = plane.shape
    found = []
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if plane[y, x] <= threshold:
                continue
            around = [plane[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]
            if plane[y, x] > max(around):
                found.append((y, x))
    best = sorted(sorted(found, key=lambda place: -plane[place])[:96])
    return [_peak(plane, y, x) for y, x in best]


def _peak(plane: Map, y: int, x: int) -> Peak:
    total = sum_x = sum_y = 0.0
    for v in range(max(0, y - 3), min(plane.shape[0], y + 4)):
        for u in range(max(0, x - 3), min(plane.shape[1], x + 4)):
            weight = max(0.0, float(plane[v, u]))
            total, sum_x, sum_y = total + weight, sum_x + weight * u, sum_y + weight * v
    return sum_x / total, sum_y / total, float(plane[y, x])


def reference_links(starts: list[Peak], ends: list[Peak], field_x: Map, field_y: Map) -> list[tuple[int, int, float]]:
    """The limbs between peaks, the best first, no peak twice."""
    height, width = field_x.shape
    candidates = []
    for i, (x1, y1, _) in enumerate(starts):
        for j, (x2, y2, _) in enumerate(ends):
            length = float(np.hypot(x2 - x1, y2 - y1))
            if length <= 1e-6:
                continue
            values = []
            for step in range(10):
                u = min(width - 1, int(x1 + (x2 - x1) * step / 10 + 0.5))
                v = min(height - 1, int(y1 + (y2 - y1) * step / 10 + 0.5))
                values.append(float(field_x[v, u]) * (x2 - x1) / length + float(field_y[v, u]) * (y2 - y1) / length)
            if all(value > 0.05 for value in values):
                candidates.append((sum(values) / 10, i, j))
    links: list[tuple[int, int, float]] = []
    for score, i, j in sorted(candidates, reverse=True):
        if all(i != first and j != second for first, second, _ in links):
            links.append((i, j, score))
    return links


def _keypoints(person: Person, peaks: list[list[Peak]]) -> Map:
    rows = [peaks[joint][person.peaks[joint]] if joint in person.peaks else (0, 0, 0) for joint in range(len(peaks))]
    return np.array(rows, dtype=np.float32)
