"""The core on what yolox_nano finds in the one-by-one clip: six come from below and leave to the right."""

from __future__ import annotations

import numpy as np
import pytest

from passflow.counting import FlowCounter, Tally
from streamserver.core.arrays import Detections
from tests.geometry.clip_detections import SIZE_ONE_BY_ONE, one_by_one
from tests.passflow.clips import RIGHT_THIRD

RATE = 10
AREA = (np.array(RIGHT_THIRD, float),)


@pytest.mark.parametrize("interval", [1, 3, 5])
@pytest.mark.parametrize(
    ("polygons", "backwards", "came"),
    [(AREA, False, 6), ((), False, 6), (AREA, True, 0), ((), True, 6)],
    ids=["area", "no area", "area, backwards", "no area, backwards"],
)
def test_the_six_are_counted(polygons: tuple[np.ndarray, ...], backwards: bool, came: int, interval: int) -> None:
    frames = list(one_by_one(interval=interval, min_score=0.5))
    counter = FlowCounter(polygons)
    most = 0
    for number, (_, found) in enumerate(reversed(frames) if backwards else frames):
        counter.look(found, clock_s=number * interval / RATE, size_wh=SIZE_ONE_BY_ONE)
        most = max(most, counter.tally.current)
    assert (counter.tally.came, counter.tally.current) == (came, 0)
    if backwards and polygons:
        assert (counter.tally.went, most) in {(6, 0), (6, 1)}, "they are gone before it is sure that they are there"
    else:
        assert most == 1


def test_a_glimpse_is_nobody_however_many_frames_it_lasts() -> None:
    counter = FlowCounter(())
    for number in range(20):
        counter.look(Detections.from_arrays([[100, 60, 150, 250]], [0.9], [0]), clock_s=number / 25, size_wh=(640, 360))
    assert counter.tally == Tally()


def test_a_new_beginning_forgets_who_is_there_and_keeps_the_totals() -> None:
    counter = FlowCounter(())
    for number in range(30):
        counter.look(Detections.from_arrays([[100, 60, 150, 250]], [0.9], [0]), clock_s=number / 10, size_wh=(640, 360))
    assert counter.tally == Tally(current=1, came=1, went=0)
    counter.restart()
    counter.look(Detections.empty(), clock_s=100.0, size_wh=(320, 180))
    assert counter.tally == Tally(current=0, came=1, went=0)
    assert len(counter.people.boxes_xyxy) == 0
