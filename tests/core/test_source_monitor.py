from __future__ import annotations

from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_stream_without_a_picture_is_stalled_until_one_comes() -> None:
    clock = Clock()
    monitor = SourceMonitor(stalled_after_s=10, clock=clock)
    monitor.connecting()
    clock.now += 30
    assert monitor.report().state is SourceState.CONNECTING
    monitor.streaming("h264 64x48")
    monitor.picture()
    clock.now += 9
    assert monitor.report().state is SourceState.STREAMING
    clock.now += 3
    report = monitor.report()
    assert (report.state, report.reason) == (SourceState.STALLED, "no picture for 12 s")
    assert (report.age_s, report.frame_age_s, report.stalls) == (2, 12, 1)
    monitor.picture()
    report = monitor.report()
    assert (report.state, report.reason, report.stalls, report.frame_age_s) == (SourceState.STREAMING, "", 1, 0)


def test_a_stall_that_ends_with_the_connection_is_counted_once() -> None:
    clock = Clock()
    monitor = SourceMonitor(stalled_after_s=10, clock=clock)
    monitor.streaming()
    clock.now += 11
    monitor.reconnecting("no answer in time")
    monitor.reconnecting("no answer in time")
    assert monitor.report().stalls == 1
    assert monitor.report().state is SourceState.RECONNECTING


def test_a_frozen_picture_is_counted_once_and_ends_with_another_picture() -> None:
    monitor = SourceMonitor(stalled_after_s=10, clock=Clock())
    monitor.streaming()
    for _ in range(3):
        monitor.stalled("the same picture for 60 s")
    assert (monitor.report().state, monitor.report().stalls) == (SourceState.STALLED, 1)
    monitor.streaming(connected=False)
    assert (monitor.report().state, monitor.report().connects) == (SourceState.STREAMING, 1)


def test_all_that_is_said_is_told_and_connections_are_counted() -> None:
    told: list[tuple[SourceState, str]] = []
    clock = Clock()
    monitor = SourceMonitor(lambda state, reason: told.append((state, reason)), clock=clock)
    monitor.connecting()
    monitor.streaming()
    monitor.reconnecting("gone")
    clock.now += 5
    monitor.reconnecting("gone")
    assert monitor.report().age_s == 5
    monitor.streaming()
    monitor.broken(3)
    monitor.ended()
    assert [state for state, _ in told] == [
        SourceState.CONNECTING,
        SourceState.STREAMING,
        SourceState.RECONNECTING,
        SourceState.RECONNECTING,
        SourceState.STREAMING,
        SourceState.ENDED,
    ]
    assert (monitor.report().reconnects, monitor.report().broken) == (1, 3)


def test_a_reconnection_counts_for_the_first_reason_of_its_absence() -> None:
    clock = Clock()
    monitor = SourceMonitor(stalled_after_s=10, clock=clock)
    monitor.reconnecting("nobody listens")
    monitor.streaming()  # the first connection is no reconnection, whatever was before
    monitor.reconnecting("it broke off")
    monitor.reconnecting("the server ended the stream", ended=True)
    monitor.streaming()
    monitor.reconnecting("the server ended the stream", ended=True)
    monitor.streaming()
    monitor.picture()
    clock.now += 11
    monitor.reconnecting("no answer")
    monitor.streaming()
    monitor.stalled("the same picture for 60 s")
    monitor.reconnecting("the same picture for 60 s")
    monitor.stalled("the same picture for 120 s", connected=True)
    assert monitor.report().reconnect_reasons == {"lost": 1, "ended": 1, "stalled": 1, "frozen": 1}
    assert monitor.report().reconnects == 4
