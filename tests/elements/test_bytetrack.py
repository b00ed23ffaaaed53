from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.objects import Pose
from streamserver.core.settings import Settings
from streamserver.elements.bytetrack import ELEMENT, ByteTrack
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests.searching import examples

PERSON = [100, 100, 140, 200]


def make(**configure: Any) -> ByteTrack:
    context = ElementContext(
        element_id=4, name="bytetrack", config_file="bytetrack.json", configure=configure, settings=Settings(),
        base_dir=Path(),
    )  # fmt: skip
    return ByteTrack(context)


def frame_with(*boxes: list[int], channel_id: int = 0, **values: Any) -> Frame:
    picture = Picture((800, 600), lambda: np.zeros((600, 800, 3), dtype=np.uint8))
    detections = Detections.from_arrays(boxes, [0.9] * len(boxes), [0] * len(boxes))
    return Frame(channel_id=channel_id, graph_id=0, frame_id=0, picture=picture, detections=detections, **values)


def run(element: ByteTrack, frame: Frame) -> list[int]:
    emitted: list[Frame] = []
    element.process(frame, lambda frame, *, port=None: emitted.append(frame))
    assert emitted == [frame]
    numbers: list[int] = frame.detections.track_ids.tolist()
    return numbers


def test_the_file_offers_the_element() -> None:
    assert ELEMENT is ByteTrack


def test_every_frame_goes_on_with_its_tracks_only() -> None:
    element = make()
    first = run(element, frame_with(PERSON))
    assert len(first) == 1
    assert run(element, frame_with(PERSON, [500, 100, 540, 200])) == first
    assert run(element, frame_with()) == []


def test_channels_have_trackers_of_their_own_and_ids_from_one_counter() -> None:
    element = make()
    one = run(element, frame_with(PERSON, channel_id=1))
    two = run(element, frame_with(PERSON, channel_id=2))
    other_graph = run(make(), frame_with(PERSON, channel_id=1))
    assert two == [one[0] + 1]
    assert other_graph == [one[0] + 2]
    assert run(element, frame_with(PERSON, channel_id=1)) == one
    assert run(element, frame_with(PERSON, channel_id=2)) == two


def test_ids_stay_different_when_elements_run_in_threads() -> None:
    seen: list[int] = []

    def work() -> None:
        element = make()
        for _ in range(50):
            seen.extend(run(element, frame_with(PERSON, discontinuity=True)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 200


def test_a_discontinuity_starts_anew() -> None:
    element = make()
    before = run(element, frame_with(PERSON))
    after = run(element, frame_with(PERSON, discontinuity=True))
    assert len(after) == 1
    assert after != before


def test_the_end_of_a_channel_frees_its_tracker_and_goes_on() -> None:
    element = make()
    before = run(element, frame_with(PERSON))
    end, emitted = Frame(channel_id=0, graph_id=0, frame_id=1, end_of_stream=True), []
    element.end_of_stream(end, lambda frame, *, port=None: emitted.append(frame))
    assert emitted == [end]
    assert run(element, frame_with(PERSON)) != before


def test_the_keys_of_the_element_file_reach_the_tracker() -> None:
    element = make(min_box_area=1_000_000, frame_rate=30, unknown="ignored")
    assert run(element, frame_with(PERSON)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("track_thresh", "0.5", "expected a number of at least 0, got '0.5'"),
        ("frame_rate", -1, "expected a number of at least 0, got -1"),
        ("match_thresh", float("nan"), "expected a number of at least 0, got nan"),
        ("track_buffer", True, "expected a number of at least 0, got True"),
        ("agnostic", 1, "expected true or false, got 1"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(key: str, value: Any, problem: str) -> None:
    with pytest.raises(GraphError, match=f"bytetrack.json: element 4 'bytetrack': {key}: {problem}"):
        make(**{key: value})


def test_what_belongs_to_an_object_goes_with_it() -> None:
    element = make()
    run(element, frame_with(PERSON))
    frame = frame_with([500, 100, 540, 200], PERSON)
    frame.poses = [Pose(np.full((1, 3), row, np.float32)) for row in range(2)]
    frame.sub_frames = [Frame(0, 0, 0, sub_id=row) for row in (0, 1, -1)]
    corners = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    found = frame.detections
    frame.detections = Detections(found.boxes_xyxy, found.scores, found.class_ids, found.track_ids, corners)
    assert len(run(element, frame)) == 1
    assert frame.poses[0].keypoints[0, 0] == 1
    assert [part.sub_id for part in frame.sub_frames] == [0, -1]
    assert frame.detections.corners_xy is not None
    np.testing.assert_array_equal(frame.detections.corners_xy, corners[1:])


BOXES = st.lists(
    st.tuples(*[st.integers(0, 700)] * 2, *[st.integers(1, 90)] * 2, st.floats(0, 1, width=32), st.integers(0, 2)),
    max_size=5,
)


@settings(max_examples=examples(25))
@given(steps=st.lists(st.tuples(st.integers(0, 2), BOXES, st.booleans()), max_size=20), agnostic=st.booleans())
def test_nothing_is_invented_and_no_number_is_shared_between_channels_or_runs(steps: Any, agnostic: bool) -> None:
    element = make(agnostic=agnostic, correct_box=False)
    owners: dict[int, tuple[int, int]] = {}
    runs = [0, 0, 0]
    for channel_id, rows, breaks in steps:
        boxes = [[x, y, x + w, y + h] for x, y, w, h, _, _ in rows]
        frame = frame_with(channel_id=channel_id, discontinuity=breaks)
        frame.detections = Detections.from_arrays(boxes, [row[4] for row in rows], [row[5] for row in rows])
        runs[channel_id] += breaks
        numbers = run(element, frame)
        assert len(numbers) == len(set(numbers))
        for number, box, score in zip(
            numbers, frame.detections.boxes_xyxy.tolist(), frame.detections.scores.tolist(), strict=True
        ):
            assert (box, score) in [(box, row[4]) for box, row in zip(boxes, rows, strict=True)]
            assert owners.setdefault(number, (channel_id, runs[channel_id])) == (channel_id, runs[channel_id])


def test_tracks_go_on_under_other_options() -> None:
    element = make(track_thresh=0.5, high_thresh=0.6)
    first = run(element, frame_with(PERSON))
    element.reconfigure({"track_thresh": 0.95, "high_thresh": 0.95})
    assert run(element, frame_with(PERSON)) == first, "a weak detection continues a track"
    assert run(element, frame_with(PERSON, [500, 100, 540, 200])) == first, "and begins none"
    element.reconfigure({"track_thresh": 0.5, "high_thresh": 0.6})
    assert len(run(element, frame_with(PERSON, [500, 100, 540, 200]))) in (1, 2)
    assert len(run(element, frame_with(PERSON, [500, 100, 540, 200]))) == 2
    with pytest.raises(GraphError):
        element.reconfigure({"track_thresh": "high"})
    assert element.context.configure["track_thresh"] == 0.5
    assert run(element, frame_with(PERSON))[0] == first[0]
