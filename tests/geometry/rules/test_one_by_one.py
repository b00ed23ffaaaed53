"""The clip of the main job, from the detections of yolox_nano to alarms, without pictures and weights."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest

from streamserver.geometry.rules.object_filter import ObjectFilter
from streamserver.geometry.rules.rule import RuleFrame
from streamserver.geometry.rules.spec import parse_filter
from streamserver.geometry.tracking.byte_tracker import ByteTracker, ByteTrackOptions
from tests.geometry.clip_detections import SIZE_ONE_BY_ONE, one_by_one


@cache
def tracked(interval: int, threshold: float) -> tuple[RuleFrame, ...]:
    """The clip's frames, with the tracker set as samples set it."""
    options = ByteTrackOptions(track_thresh=threshold, high_thresh=threshold, track_buffer=round(50 / interval))
    tracker = ByteTracker(options, itertools.count(1).__next__)
    frames = []
    for step, (frame_id, detections) in enumerate(one_by_one(interval=interval, min_score=threshold / 2)):
        seen = tracker.update(detections, SIZE_ONE_BY_ONE)
        frames.append(
            RuleFrame(
                step=step,
                clock_s=frame_id / 10,
                timestamp_us=frame_id * 100_000,
                size_wh=SIZE_ONE_BY_ONE,
                detections=seen,
                identities=seen.track_ids,
            )
        )
    return tuple(frames)


def alarms(*, interval: int = 3, threshold: float = 0.5, x: int = 580, **keys: Any) -> list[int]:
    """The frames with alarms for the line (x, 0)-(x, 431)."""
    times = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
    line = [{"left": x, "top": 0}, {"left": x, "top": 431}]
    entry = {"type": 1, "mode": "cross", "areas": [line], "classes": [0], "times": times} | keys
    one = ObjectFilter(parse_filter(entry, "filters[0]"))
    found = []
    for frame in tracked(interval, threshold):
        found += [frame.step * interval] * int(one.passing(frame).mask.sum())
    return found


@pytest.mark.parametrize("skip", [0, 1, 300])
@pytest.mark.parametrize("first", [0, 1, 20])
@pytest.mark.parametrize(("direction", "expected"), [([1, 0], 6), ([-1, 0], 0), (None, 6)])
def test_each_of_the_six_people_crosses_once(direction: list[int] | None, expected: int, first: int, skip: int) -> None:
    keys = {} if direction is None else {"direction": direction}
    assert len(alarms(alert_first_frame=first, alert_frame_skip_nums=skip, **keys)) == expected


@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.5, 0.6])
@pytest.mark.parametrize("interval", [1, 2, 3, 4])
def test_the_count_does_not_hang_on_threshold_or_interval(interval: int, threshold: float) -> None:
    assert len(alarms(interval=interval, threshold=threshold, alert_first_frame=20, alert_frame_skip_nums=300)) == 6


@pytest.mark.parametrize("x", [540, 560, 600, 620])
def test_the_count_does_not_hang_on_the_place_of_the_line(x: int) -> None:
    assert len(alarms(x=x, direction=[1, 0])) == 6
    assert alarms(x=x, direction=[-1, 0]) == []
