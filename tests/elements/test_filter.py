from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.elements.filter import ELEMENT, Filter
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture

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
