from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from streamserver.core.arrays import Detections

SIZE_ONE_BY_ONE = (768, 432)
SIZE_BOTTLES = (640, 360)
_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@cache
def _rows(name: str) -> dict[int, np.ndarray]:
    with (_FIXTURES / name).open() as file:
        lines = list(csv.reader(line for line in file if line[0].isdigit()))
    values = np.array(lines, dtype=float)
    return {int(frame): np.array(list(rows)) for frame, rows in groupby(values, key=lambda row: row[0])}


def one_by_one(*, interval: int, min_score: float) -> Iterator[tuple[int, Detections]]:
    """What yolox_nano finds in every ``interval``-th frame of the clip: six people come and leave to the right."""
    return _detections("one_by_one_detections.csv", 1394, interval=interval, min_score=min_score)


def bottles(*, interval: int) -> Iterator[tuple[int, Detections]]:
    """What yolox_nano takes for people in ``bottle-detection.mp4``: arms that reach in at the left upper corner."""
    return _detections("bottle_detections.csv", 1189, interval=interval, min_score=0.1)


def _detections(name: str, frames: int, *, interval: int, min_score: float) -> Iterator[tuple[int, Detections]]:
    for frame_id in range(0, frames, interval):
        rows = _rows(name).get(frame_id, np.zeros((0, 6)))
        rows = rows[rows[:, 5] >= min_score]
        yield frame_id, Detections.from_arrays(rows[:, 1:5], rows[:, 5], np.zeros(len(rows)))
