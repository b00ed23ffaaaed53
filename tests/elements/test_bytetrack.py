from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.elements.bytetrack import ELEMENT, ByteTrack
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture

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
    return frame.detections.track_ids.tolist()


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
