from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.elements.converger import ELEMENT, MOST_KEPT, MOST_WAITING, Converger
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

HERE = 5


def make(*, default_port: Any = 0, **values: Any) -> Converger:
    return Converger(
        ElementContext(
            element_id=HERE, name="converger", config_file="converger.json",
            configure={"default_port": default_port}, settings=Settings(), base_dir=Path(), **values,
        )
    )  # fmt: skip


def whole(number: int, parts: int = 0, *, channel_id: int = 0, dropped: bool = False) -> Frame:
    ticket = 1000 * (number + 1)
    frame = Frame(channel_id, 0, number, ticket=ticket, parts_out={HERE: parts} if parts else {}, dropped=dropped)
    frame.sub_frames = [part(number, k, channel_id=channel_id) for k in range(parts)]
    return frame


def part(number: int, k: int, *, channel_id: int = 0, dropped: bool = False, port: int = 1) -> Frame:
    ticket = 1000 * (number + 1)
    return Frame(
        channel_id, 0, number, port=port, ticket=ticket + k + 1, branch_of=ticket, returns_to=HERE, dropped=dropped
    )


def pass_through(element: Converger, *frames: Frame) -> list[Frame]:
    emitted: list[Frame] = []
    for frame in frames:
        element.process(frame, lambda frame, *, port=None: emitted.append(frame))
    return emitted


def test_the_file_offers_the_element() -> None:
    assert ELEMENT is Converger


def test_a_frame_waits_for_its_parts_and_later_ones_wait_for_it() -> None:
    element = make()
    assert pass_through(element, whole(0, 2), whole(1), part(2, 0), whole(2, 1), part(0, 0)) == []
    assert [frame.frame_id for frame in pass_through(element, part(0, 1))] == [0, 1, 2]


def test_parts_may_come_before_their_frame() -> None:
    element = make()
    assert pass_through(element, part(0, 1), part(0, 0)) == []
    assert [frame.frame_id for frame in pass_through(element, whole(0, 2))] == [0]


def test_a_part_that_was_dropped_counts_and_is_gone() -> None:
    [frame] = pass_through(make(), whole(0, 3), part(0, 0), part(0, 1, dropped=True), part(0, 2))
    assert [one.ticket for one in frame.sub_frames] == [1001, 1003]
    assert frame.parts_out == {}


def test_a_whole_frame_that_was_dropped_takes_its_parts_along() -> None:
    element = make()
    assert pass_through(element, part(0, 0), whole(0, 2, dropped=True), whole(1)) == []
    assert [frame.frame_id for frame in pass_through(element, part(0, 1))] == [1]


def test_a_dropped_frame_that_somebody_waits_for_goes_on_as_such() -> None:
    outer = Frame(0, 0, 4, ticket=8, branch_of=2, returns_to=77, dropped=True)
    assert pass_through(make(), outer) == [outer]


def test_channels_do_not_wait_for_each_other() -> None:
    element = make()
    pass_through(element, whole(0, 1))
    assert len(pass_through(element, whole(0, channel_id=1))) == 1


def test_at_the_end_what_is_there_goes_on_in_order_and_the_channel_is_forgotten() -> None:
    element = make()
    pass_through(element, whole(0, 1), whole(1))
    end, emitted = Frame(0, 0, 0, end_of_stream=True), []
    element.end_of_stream(end, lambda frame, *, port=None: emitted.append(frame))
    assert [(frame.frame_id, frame.end_of_stream) for frame in emitted] == [(0, False), (1, False), (0, True)]
    assert not element._channels


def test_enough_frames_of_a_channel_hold_back_its_further_ones_and_never_its_parts() -> None:
    element = make()
    for number in range(MOST_WAITING):
        assert not element.holds_back(whole(number))
        pass_through(element, whole(number, 1))
    assert element.holds_back(whole(99))
    assert not element.holds_back(whole(99, channel_id=1))
    assert not element.holds_back(part(0, 0))


def test_a_frame_that_has_waited_too_long_goes_on_with_what_is_back_and_nothing_is_kept_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    element = make()
    waiting = [part(0, 1), whole(0, 3), whole(1, 1), *(whole(number) for number in range(2, MOST_KEPT))]
    assert pass_through(element, *waiting) == []
    [first] = pass_through(element, whole(MOST_KEPT))
    assert (first.frame_id, [one.ticket for one in first.sub_frames]) == (0, [1002])
    assert pass_through(element, part(0, 0), part(0, 2, dropped=True)) == []
    assert len(pass_through(element, part(1, 0))) == MOST_KEPT
    assert not element._channels[0].overdue
    assert not element._channels[0].back
    assert caplog.text.count(f"{MOST_KEPT} frames wait for parts that an element before it keeps") == 1


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (None, "default_port: expected a port's number, got None"),
        (3, "default_port: nothing arrives at port 3, only at 0, 1"),
    ],
)
def test_what_cannot_be_used_names_file_element_and_key(port: Any, words: str) -> None:
    with pytest.raises(GraphError, match=f"converger.json: element {HERE} 'converger': {words}"):
        make(default_port=port, input_ports=(1, 0, 1))
