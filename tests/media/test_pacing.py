from __future__ import annotations

import threading

import pytest

from streamserver.media.pacing import Pacer, TimestampPacer


class FakeTime(threading.Event):
    """A clock and a stop event in one: waiting moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.waited: list[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(round(timeout, 6))
        self.now += timeout
        return self.is_set()


def test_frames_come_at_the_rate_of_the_file() -> None:
    time = FakeTime()
    pacer = Pacer(10.0, time, clock=time.clock)
    assert all(pacer.wait() for _ in range(4))
    assert time.waited == [0.1, 0.1, 0.1]


def test_a_short_delay_is_made_up_and_a_long_one_forgotten() -> None:
    time = FakeTime()
    pacer = Pacer(10.0, time, clock=time.clock, max_lag_s=0.25)
    pacer.wait()
    time.now += 0.2
    pacer.wait()
    pacer.wait()
    assert time.waited == []
    pacer.wait()
    assert time.waited == [0.1]
    time.now += 60.0
    for _ in range(4):
        pacer.wait()
    assert time.waited == [0.1, 0.05]


def test_no_pacing_never_waits_and_a_stop_is_told() -> None:
    time = FakeTime()
    pacer = Pacer(0.0, time, clock=time.clock)
    assert all(pacer.wait() for _ in range(100))
    assert time.waited == []
    time.set()
    assert not pacer.wait()


@pytest.mark.parametrize(
    ("stamps", "waited"),
    [
        ([5.0, 5.5, 6.0], [0.5, 0.5]),
        ([5.0, None, 5.5], [0.5]),
        ([5.0, 500.0, 500.5], [0.5]),
        ([5.0, 1.0, 1.5], [0.5]),
    ],
)
def test_bursts_are_spread_over_their_timestamps(stamps: list[float | None], waited: list[float]) -> None:
    time = FakeTime()
    pacer = TimestampPacer(time, clock=time.clock)
    for stamp in stamps:
        pacer.wait(stamp)
    assert time.waited == waited


def test_frames_that_are_passed_over_take_their_time() -> None:
    time = FakeTime()
    pacer = Pacer(10.0, time, clock=time.clock)
    for frames in (1, 5, 1):
        assert pacer.wait(frames)
    assert time.now == pytest.approx(100.6)
