from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.objects import Face, Pose, Recognition, Segment
from streamserver.core.settings import Settings
from streamserver.elements.filter import ELEMENT, Filter
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests.searching import examples

ALL_DAY = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
LINE = [{"left": 100, "top": 0}, {"left": 100, "top": 600}]


def entry(**keys: Any) -> dict[str, Any]:
    return {"areas": [[]], "classes": [0], "times": ALL_DAY, "type": 2} | keys


def make(*filters: dict[str, Any], channel_id: int = 0) -> Filter:
    configure = {"rules": [{"channel_id": channel_id, "filters": list(filters)}]}
    context = ElementContext(
        element_id=7, name="filter", config_file="filter.json", configure=configure, settings=Settings(),
        base_dir=Path(),
    )  # fmt: skip
    return Filter(context)


def frame_with(*rows: tuple[list[float], int, int], sequence: int = 0, **values: Any) -> Frame:
    """Rows are a box, a class and a track id."""
    boxes, classes, ids = ([row[k] for row in rows] for k in range(3))
    picture = Picture((800, 600), lambda: np.zeros((600, 800, 3), dtype=np.uint8))
    detections = Detections.from_arrays(boxes, [0.9] * len(rows), classes, ids)
    base: dict[str, Any] = {"channel_id": 0, "graph_id": 0, "frame_id": sequence} | values
    return Frame(**base, sequence=sequence, picture=picture, detections=detections)


def run(element: Filter, frame: Frame) -> list[int] | None:
    """The track ids that go on; ``None`` for a frame that is dropped."""
    emitted: list[Frame] = []
    element.process(frame, lambda frame, *, port=None: emitted.append(frame))
    return emitted[0].detections.track_ids.tolist() if emitted else None


def walker(x: float, sequence: int, **values: Any) -> Frame:
    return frame_with(([x - 10, 300, x + 10, 400], 0, 5), sequence=sequence, **values)


BOX = [10.0, 10.0, 20.0, 20.0]


def test_the_file_offers_the_element() -> None:
    assert ELEMENT is Filter


def test_only_frames_with_something_to_report_go_on_and_only_with_that() -> None:
    element = make(entry(classes=[2]))
    assert run(element, frame_with((BOX, 0, 1), (BOX, 2, 2))) == [2]
    assert run(element, frame_with((BOX, 0, 1))) is None
    assert run(element, frame_with()) is None


def test_filters_see_the_original_objects_and_their_results_are_joined_in_order() -> None:
    element = make(entry(classes=[2]), entry(classes=[0]), entry(classes=[2, 5]))
    assert run(element, frame_with((BOX, 5, 1), (BOX, 0, 2), (BOX, 7, 3), (BOX, 2, 4))) == [1, 2, 4]


def test_filters_count_for_themselves() -> None:
    element = make(
        entry(type=1, alert_first_frame=2, alert_frame_skip_nums=100),
        entry(type=1, alert_first_frame=4, alert_frame_skip_nums=100),
    )
    results = [run(element, frame_with((BOX, 0, 1), sequence=n)) for n in range(6)]
    assert [n for n, result in enumerate(results) if result] == [2, 4]


def test_a_channel_without_a_rule_passes_unfiltered_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    element = make(entry(), channel_id=3)
    with caplog.at_level(logging.WARNING):
        assert run(element, frame_with((BOX, 9, 1))) == [1]
        assert run(element, frame_with()) == []
    assert [record.message for record in caplog.records] == [
        "filter.json: element 7 on channel 0 has no rule for this channel; its frames pass unfiltered"
    ]


def test_objects_without_tracks_are_told_once_and_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    crossing = entry(type=1, mode="cross", areas=[LINE])
    element = make(entry(type=1), crossing)
    with caplog.at_level(logging.WARNING):
        assert run(element, frame_with((BOX, 0, 0))) == [0]
        assert run(element, frame_with((BOX, 0, 0), sequence=1)) == [0]
    assert len(caplog.records) == 1
    assert "put a bytetrack element before the filter" in caplog.text


def test_a_filter_that_can_never_report_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make(entry(), entry(areas=[]))
    assert "reports nothing with filter 1: its 'areas' is an empty list" in caplog.text


def test_a_crossing_is_reported_once() -> None:
    element = make(entry(type=1, mode="cross", areas=[LINE], direction=[1, 0]))
    assert [run(element, walker(x, n)) for n, x in enumerate([50, 90, 150, 200, 50])] == [None, None, [5], None, None]


def test_dropped_processed_frames_count_for_the_repeat() -> None:
    element = make(entry(type=1, mode="cross", areas=[LINE], alert_frame_skip_nums=100))
    sequences = [0, 1, 2, 101, 102]
    results = [run(element, walker(x, n)) for n, x in zip(sequences, [50, 150, 50, 150, 50], strict=True)]
    assert results == [None, [5], None, [5], None]


def test_a_discontinuity_and_an_end_forget_the_channel() -> None:
    element = make(entry(type=1, mode="cross", areas=[LINE]))
    run(element, walker(50, 0))
    assert run(element, walker(150, 1, discontinuity=True)) is None
    end, emitted = Frame(channel_id=0, graph_id=0, frame_id=2, end_of_stream=True), []
    element.end_of_stream(end, lambda frame, *, port=None: emitted.append(frame))
    assert emitted == [end]
    assert run(element, walker(50, 2)) is None
    assert run(element, walker(150, 3)) == [5]


def test_channels_are_kept_apart() -> None:
    rules = [{"channel_id": n, "filters": [entry(type=1, mode="cross", areas=[LINE])]} for n in (0, 1)]
    context = ElementContext(
        element_id=7, name="filter", config_file="filter.json", configure={"rules": rules}, settings=Settings(),
        base_dir=Path(),
    )  # fmt: skip
    element = Filter(context)
    run(element, walker(50, 0))
    assert run(element, walker(150, 1, channel_id=1)) is None
    assert run(element, walker(150, 1)) == [5]


def test_what_cannot_be_used_names_file_element_key_and_cure() -> None:
    message = r"filter.json: element 7 'filter': rules\[0\].filters\[0\].type: mode 'cross' .* got type 2; write type 1"
    with pytest.raises(GraphError, match=message):
        make(entry(mode="cross", areas=[LINE]))


def with_parts(frame: Frame, *texts: str, faces: int = 0) -> Frame:
    """One part for each object, with what was read of it, one for each face, and one for the whole frame."""
    face = Face((0, 0, 9, 9), 0.9, np.zeros((5, 2), np.float32))
    frame.faces = [face] * faces
    frame.sub_frames = [Frame(0, 0, frame.frame_id, sub_id=row) for row in range(faces)]
    for row, text in enumerate(texts):
        read = [Recognition(text, (0.9,))] if text else []
        frame.sub_frames.append(Frame(0, 0, frame.frame_id, sub_id=faces + row, recognitions=read))
    frame.sub_frames.append(Frame(0, 0, frame.frame_id, sub_id=-1))
    return frame


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_what_belongs_to_an_object_goes_with_it_and_parts_are_numbered_anew(kind: int) -> None:
    frame = with_parts(frame_with((BOX, 0, 1), (BOX, 2, 2), (BOX, 0, 3), (BOX, 2, 4)), "A", "B", "C", "D", faces=2)
    frame.poses = [Pose(np.full((1, 3), row, np.float32)) for row in range(4)]
    frame.segments = [Segment((row, row), np.ones((1, 1), np.bool_)) for row in range(4)]
    assert run(make(entry(classes=[2], type=kind)), frame) == [2, 4]
    assert [pose.keypoints[0, 0] for pose in frame.poses] == [1, 3]
    assert [segment.left_top_xy for segment in frame.segments] == [(1, 1), (3, 3)]
    assert [part.sub_id for part in frame.sub_frames] == [0, 1, 2, 3, -1]
    assert [part.recognitions[0].label for part in frame.sub_frames[2:4]] == ["B", "D"]
    assert len(frame.faces) == 2


def test_poses_that_are_not_one_an_object_stay() -> None:
    frame = frame_with((BOX, 0, 1), (BOX, 2, 2))
    frame.poses = [Pose(np.zeros((1, 3), np.float32))] * 3
    run(make(entry(classes=[2])), frame)
    assert len(frame.poses) == 3


def test_plates_are_counted_by_their_text_whatever_tracks_say() -> None:
    element = make(entry(type=0, alert_first_frame=2, alert_frame_skip_nums=100))
    read = [("A", 1), ("A", 2), ("B", 2), ("A", 3), ("A", 4), ("B", 9), ("B", 8)]
    results = [run(element, with_parts(frame_with((BOX, 0, i), sequence=n), t)) for n, (t, i) in enumerate(read)]
    assert results == [None, None, None, [3], None, None, [8]]


@pytest.mark.parametrize("unread", ["", "###"])
def test_a_plate_that_nobody_could_read_is_counted_by_its_track(unread: str) -> None:
    element = make(entry(type=0, alert_first_frame=1, alert_frame_skip_nums=100))
    frames = [with_parts(frame_with((BOX, 0, 7), (BOX, 0, 8), sequence=n), unread, "A") for n in range(3)]
    assert [run(element, frame) for frame in frames] == [None, [7, 8], None]


def test_the_same_plate_twice_in_a_frame_counts_once() -> None:
    element = make(entry(type=0, alert_first_frame=1, alert_frame_skip_nums=100))
    frames = [with_parts(frame_with((BOX, 0, 7), (BOX, 0, 8), sequence=n), "A", "A") for n in range(2)]
    assert [run(element, frame) for frame in frames] == [None, [7, 8]]


def test_texts_say_nothing_to_type_one() -> None:
    element = make(entry(type=1, alert_first_frame=1, alert_frame_skip_nums=100))
    frames = [with_parts(frame_with((BOX, 0, 7), sequence=n), text) for n, text in enumerate("AB")]
    assert [run(element, frame) for frame in frames] == [None, [7]]


def test_the_areas_that_let_something_pass_are_noted_for_whoever_draws_them() -> None:
    square = [{"left": 0, "top": 0}, {"left": 50, "top": 0}, {"left": 50, "top": 50}, {"left": 0, "top": 50}]
    far = [{"left": 700, "top": 0}, {"left": 700, "top": 600}]
    near = [{"left": 15, "top": 0}, {"left": 15, "top": 600}]
    frame = frame_with((BOX, 0, 1))
    run(make(entry(areas=[far, near, square]), entry(areas=[square]), entry(areas=[[]])), frame)
    assert [area.tolist() for area in frame.touched_areas] == [
        [[15, 0], [15, 600]],
        [[0, 0], [50, 0], [50, 50], [0, 50]],
    ]
    assert all(area.dtype == np.float32 for area in frame.touched_areas)


def test_of_tripwires_only_the_one_that_was_crossed_is_noted() -> None:
    other = [{"left": 400, "top": 0}, {"left": 400, "top": 600}]
    element = make(entry(type=1, mode="cross", areas=[other, LINE]))
    run(element, walker(50, 0))
    frame = walker(150, 1)
    assert run(element, frame) == [5]
    assert [area.tolist() for area in frame.touched_areas] == [[[100, 0], [100, 600]]]


ROWS = st.lists(
    st.tuples(
        st.tuples(*[st.integers(0, 700)] * 2, *[st.integers(1, 90)] * 2),
        st.integers(0, 3),
        st.integers(0, 5),
        st.sampled_from(["", "A", "B"]),
    ),
    max_size=6,
)


@settings(max_examples=examples(40))
@given(
    frames=st.lists(ROWS, max_size=8),
    filters=st.lists(
        st.fixed_dictionaries(
            {
                "type": st.integers(0, 2),
                "classes": st.lists(st.integers(0, 3), max_size=3),
                "areas": st.lists(
                    st.lists(
                        st.fixed_dictionaries({"left": st.integers(0, 800), "top": st.integers(0, 600)}), max_size=5
                    ),
                    min_size=1,
                    max_size=3,
                ),
                "times": st.just(ALL_DAY),
                "alert_first_frame": st.integers(0, 2),
                "alert_frame_skip_nums": st.integers(0, 3),
                "anchor": st.sampled_from(["box", "foot"]),
            }
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_passes_was_there_before_with_all_that_belongs_to_it(frames: Any, filters: Any) -> None:
    element = make(*filters)
    for sequence, rows in enumerate(frames):
        boxes = [[x, y, x + w, y + h] for (x, y, w, h), _, _, _ in rows]
        objects = [(box, row[1], row[2]) for box, row in zip(boxes, rows, strict=True)]
        frame = with_parts(frame_with(*objects, sequence=sequence), *(row[3] for row in rows))
        for part in frame.sub_frames:
            part.track_id = part.sub_id
        before = frame.detections
        passed = run(element, frame)
        if passed is None:
            continue
        assert passed
        kept = [part.track_id for part in frame.sub_frames if part.track_id >= 0]
        assert kept == sorted(kept)
        assert [part.sub_id for part in frame.sub_frames] == [*range(len(kept)), -1]
        np.testing.assert_array_equal(frame.detections.boxes_xyxy, before.boxes_xyxy[kept])
        np.testing.assert_array_equal(frame.detections.track_ids, before.track_ids[kept])
        wanted = {number for one in filters for number in one["classes"]}
        assert set(frame.detections.class_ids.tolist()) <= wanted
