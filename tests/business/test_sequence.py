from __future__ import annotations

from streamserver.business.sequence import FrameCounter, Place
from streamserver.core.results import WireFrame
from tests.business.support import message


def frame(frame_id: int, *, sequence: int | None = None, loop: int = 0) -> WireFrame:
    return WireFrame.from_wire(message(frame_id, sequence=sequence, loop=loop))


def test_what_our_engine_says_is_taken_as_it_is() -> None:
    counter = FrameCounter(3)
    assert counter.place(frame(6, sequence=2)) == Place(2, 0, started_over=False)
    assert counter.place(frame(9, sequence=3)) == Place(3, 0, started_over=False)


def test_a_new_loop_of_our_engine_is_a_start_over() -> None:
    counter = FrameCounter(3)
    counter.place(frame(9, sequence=3))
    assert counter.place(frame(0, sequence=4, loop=1)) == Place(4, 1, started_over=True)
    assert counter.place(frame(3, sequence=5, loop=1)) == Place(5, 1, started_over=False)


def test_a_camera_that_comes_back_within_the_same_loop_goes_on() -> None:
    counter = FrameCounter(1)
    counter.place(frame(900, sequence=900))
    assert counter.place(frame(0, sequence=901)) == Place(901, 0, started_over=False)


def test_an_engine_that_was_started_again_is_a_start_over() -> None:
    counter = FrameCounter(1)
    counter.place(frame(900, sequence=900))
    assert counter.place(frame(0, sequence=0)) == Place(0, 0, started_over=True)


def test_a_binary_s_frames_are_counted_by_the_interval_across_its_loops() -> None:
    counter = FrameCounter(5)
    places = [counter.place(frame(frame_id)) for frame_id in (0, 5, 20, 5, 10, 0)]
    assert [place.sequence for place in places] == [0, 1, 4, 6, 7, 8]
    assert [place.loop for place in places] == [0, 0, 0, 1, 1, 2]
    assert [place.started_over for place in places] == [False, False, False, True, False, True]


def test_an_interval_of_0_counts_every_frame() -> None:
    counter = FrameCounter(0)
    assert [counter.place(frame(frame_id)).sequence for frame_id in (0, 1, 4)] == [0, 1, 4]
