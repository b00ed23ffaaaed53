from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from streamserver.core.arrays import Detections

SIZE_ONE_BY_ONE = (768, 432)
_FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "one_by_one_detections.csv"
_FRAMES = 1394


@cache
def _rows() -> dict[int, np.ndarray]:
    with _FIXTURE.open() as file:
        lines = list(csv.reader(line for line in file if line[0].isdigit()))
    values = np.array(lines, dtype=float)
    return {int(frame): np.array(list(rows)) for frame, rows in groupby(values, key=lambda row: row[0])}


def one_by_one(*, interval: int, min_score: float) -> Iterator[tuple[int, Detections]]:
    """What yolox_nano finds in every ``interval``-th frame of the clip: six people come and leave to the right."""
    for frame_id in range(0, _FRAMES, interval):
        rows = _rows().get(frame_id, np.zeros((0, 6)))
        rows = rows[rows[:, 5] >= min_score]
        yield frame_id, Detections.from_arrays(rows[:, 1:5], rows[:, 5], np.zeros(len(rows)))
