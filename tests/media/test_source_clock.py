from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.media.source_clock import ArrivalClock, SourceClock


def times(*stamps_s: float | None, rate: float = 4.0, clock: SourceClock | None = None) -> list[float]:
    clock = clock or SourceClock()
    return [clock.at(stamp_s, rate=rate) for stamp_s in stamps_s]


@pytest.mark.parametrize(
    ("stamps_s", "expected"),
    [
        pytest.param([7.0, 7.5, 9.0], [0, 0.5, 2], id="begins at 0, whatever the first timestamp, and follows them"),
        pytest.param([-0.5, 0.0], [0, 0.5], id="before 0"),
        pytest.param([None, None, None], [0, 0.25, 0.5], id="no timestamps: the rate"),
        pytest.param([0.0, float("nan"), float("inf")], [0, 0.25, 0.5], id="no numbers"),
        pytest.param([0.0, None, 0.5], [0, 0.25, 0.5], id="one without"),
        pytest.param([0.0, 1.0, 0.5, 1.5], [0, 1, 1, 1.5], id="out of order: held"),
        pytest.param([0.0, 1.0, 1.0], [0, 1, 1], id="twice the same"),
        pytest.param([0.0, 1.0, 90_000.0, 90_001.0], [0, 1, 1.25, 2.25], id="a jump is a mistake"),
        pytest.param([90_000.0, 90_001.0, 0.0, 1.0], [0, 1, 1.25, 2.25], id="a jump back"),
    ],
)
def test_the_clock_follows_timestamps(stamps_s: list[float | None], expected: list[float]) -> None:
    assert times(*stamps_s) == expected


def test_a_new_loop_goes_on_one_picture_later() -> None:
    clock = SourceClock()
    first = times(3.0, 3.5, clock=clock)
    clock.new_loop()
    assert [*first, *times(3.0, 3.5, clock=clock)] == [0, 0.5, 0.75, 1.25]


def test_what_lasts_ten_seconds_lasts_as_long_in_every_loop() -> None:
    """Or a file that is played again after a crash would raise some events a frame earlier or later."""
    clock, seen = SourceClock(), []
    for _ in range(20):
        clock.new_loop()
        seen.append(times(*(number / 30 for number in range(303)), rate=29.97, clock=clock))
    assert {loop[300 + i] - loop[i] for loop in seen for i in range(3)} == {10.0}


@given(st.lists(st.none() | st.floats(), max_size=50), st.floats(0.1, 240))
def test_it_never_goes_back(stamps_s: list[float | None], rate: float) -> None:
    found = times(*stamps_s, rate=rate)
    assert found == sorted(found)


def test_a_packet_that_had_to_wait_came_when_those_before_and_after_tell() -> None:
    clock = ArrivalClock()
    prompt = [clock.at(n / 25, now=100 + n / 25) for n in range(50)]
    assert prompt == pytest.approx([100 + n / 25 for n in range(50)])
    read_late = [clock.at(n / 25, now=104.0) for n in range(50, 100)]
    assert read_late == pytest.approx([100 + n / 25 for n in range(50, 100)], abs=0.01)


@given(st.lists(st.tuples(st.none() | st.floats(-1e4, 1e4), st.floats(0, 5)), max_size=60))
def test_no_packet_came_before_another_or_after_it_was_read(packets: list[tuple[float | None, float]]) -> None:
    clock, now, before = ArrivalClock(), 50.0, 0.0
    for stamp_s, passed_s in packets:
        now += passed_s
        arrived = clock.at(stamp_s, now=now)
        assert before <= arrived <= now
        before = arrived


def test_a_camera_whose_clock_was_set_or_runs_otherwise_is_followed() -> None:
    clock = ArrivalClock()
    clock.at(0.0, now=100.0)
    assert clock.at(5000.0, now=101.0) == 101.0
    slow = [clock.at(5000 + n * 0.9995, now=101.0 + n) for n in range(1, 2000)]
    assert slow[-1] == pytest.approx(101 + 1999, abs=0.1)
