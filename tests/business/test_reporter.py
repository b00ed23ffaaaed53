from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.business.outbox import NewEvent, Outbox
from streamserver.business.reporter import BACKOFF_S, MAX_PAUSE_S, PROBE_S, Reporter, retry_delay_s
from streamserver.core.errors import AlarmRefusedError, DeliveryError, StoreError
from streamserver.sinks.file import FileSink
from streamserver.sinks.http import HttpSink
from streamserver.sinks.sink import Alarm
from tests.business.support import receiver, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Address:
    """A sink that takes or refuses, and remembers what it was asked."""

    def __init__(self, name: str, *, works: bool = True) -> None:
        self.name = name
        self.works = works
        self.refuses: set[bytes] = set()
        self.too_large: set[bytes] = set()
        self.taken: list[Alarm] = []
        self.asked = 0

    def send(self, alarm: Alarm) -> None:
        self.asked += 1
        if self.works and alarm.body in self.too_large:
            raise AlarmRefusedError(f"{self.name}: answered 413")
        if not self.works or alarm.body in self.refuses:
            raise DeliveryError(f"{self.name}: no")
        self.taken.append(alarm)

    def close(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite", max_bytes=10**9, now=clock)
    yield box
    box.close()


def add(outbox: Outbox, *numbers: int) -> None:
    outbox.add([NewEvent(algorithm=0, body=body(number)) for number in numbers])


def body(number: int) -> bytes:
    return f'[{{"FrameIndex":{number},"AnalyzeEvents":[]}}]'.encode()


def make(outbox: Outbox, addresses: list[Address], clock: Clock, archive: FileSink | Address | None = None) -> Reporter:
    return Reporter(outbox, addresses, archive, now=clock, jitter=lambda low, high: high)


def run(reporter: Reporter, clock: Clock, seconds: float) -> None:
    """Lets the reporter work as its thread would, on the test's clock."""
    end = clock.now + seconds
    while True:
        wait_s = reporter.step()
        if wait_s > 0:
            if clock.now + wait_s > end:
                clock.now = end
                return
            clock.now += max(wait_s, 0.001)


def test_addresses_take_turns(outbox: Outbox, clock: Clock) -> None:
    addresses = [Address("a"), Address("b"), Address("c")]
    add(outbox, *range(9))
    run(make(outbox, addresses, clock), clock, 0)
    assert [[alarm.body for alarm in a.taken] for a in addresses] == [
        [body(0), body(3), body(6)], [body(1), body(4), body(7)], [body(2), body(5), body(8)],
    ]  # fmt: skip


def test_when_one_fails_the_next_one_gets_the_alarm_at_once(outbox: Outbox, clock: Clock) -> None:
    bad, good = Address("bad", works=False), Address("good")
    add(outbox, *range(6))
    run(make(outbox, [bad, good], clock), clock, 0)
    assert [alarm.body for alarm in good.taken] == [body(n) for n in range(6)]
    assert {alarm.attempt for alarm in good.taken} == {1}
    assert bad.asked == 3


def test_an_alarm_that_nobody_takes_is_tried_again_with_the_same_id_and_the_next_number(
    outbox: Outbox, clock: Clock
) -> None:
    address = Address("a", works=False)
    reporter = make(outbox, [address], clock)
    add(outbox, 1)
    run(reporter, clock, 40)  # tries at 0, 1, 6, 36
    assert address.asked == 4 and reporter.last_error == "a: no"
    address.works = True
    run(reporter, clock, 121)
    assert [alarm.attempt for alarm in address.taken] == [5]
    assert outbox.counters.pending == 0 and reporter.last_error == ""


@pytest.mark.parametrize(("failures", "limit_s"), [*enumerate(BACKOFF_S), (6, 1800.0), (1000, 1800.0)])
def test_the_wait_is_anything_up_to_the_step_s_limit(failures: int, limit_s: float) -> None:
    assert retry_delay_s(failures, lambda low, high: high) == limit_s
    assert retry_delay_s(failures, lambda low, high: low) == 0


def test_a_dead_receiver_is_not_hammered(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    add(outbox, *range(500))
    run(make(outbox, [address], clock), clock, 3600)
    assert 3600 / MAX_PAUSE_S <= address.asked <= 3600 / MAX_PAUSE_S + 10


def test_the_first_success_after_an_outage_sends_all_that_waited(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    reporter = make(outbox, [address], clock)
    add(outbox, *range(50))
    run(reporter, clock, 4 * 3600)
    address.works = True
    while not address.taken:
        run(reporter, clock, 1)
    run(reporter, clock, 0)
    assert sorted(alarm.body for alarm in address.taken) == sorted(body(n) for n in range(50))


def test_an_alarm_that_is_always_refused_does_not_hold_up_the_others(outbox: Outbox, clock: Clock) -> None:
    address = Address("a")
    address.refuses = {body(0), body(1)}
    reporter = make(outbox, [address], clock)
    for number in range(60):
        add(outbox, number)
        run(reporter, clock, 10)
    assert [alarm.body for alarm in address.taken] == [body(n) for n in range(2, 60)]
    assert address.asked < 58 + 2 * 20
    assert outbox.counters.pending == 2


def test_a_few_alarms_arrive_within_a_minute_of_the_end_of_a_long_outage(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    reporter = make(outbox, [address], clock)
    add(outbox, 1, 2)
    run(reporter, clock, 8 * 3600)
    assert address.asked <= 8 * 3600 / PROBE_S + 2 * len(BACKOFF_S)
    address.works = True
    run(reporter, clock, PROBE_S + 1)
    assert sorted(alarm.body for alarm in address.taken) == [body(1), body(2)]


def test_what_waits_long_at_the_start_is_tried_at_once(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    add(outbox, 1, 2)
    run(make(outbox, [address], clock), clock, 8 * 3600)
    again = Address("a")
    run(make(outbox, [again], clock), clock, 0)
    assert len(again.taken) == 2


def test_a_second_outage_right_after_the_first_delays_nothing_for_long(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    reporter = make(outbox, [address], clock)
    add(outbox, *range(40))
    run(reporter, clock, 12 * 3600)
    address.works = True
    while len(address.taken) < 2:
        clock.now += reporter.step()
    address.works = False
    run(reporter, clock, 20)
    address.works = True
    run(reporter, clock, 2 * PROBE_S)
    assert outbox.counters.pending == 0


def test_a_clock_that_is_set_back_holds_nothing_up(outbox: Outbox, clock: Clock) -> None:
    address = Address("a")
    reporter = make(outbox, [address], clock)
    add(outbox, 0)
    run(reporter, clock, 0)
    add(outbox, 1)
    clock.now -= 1500
    run(reporter, clock, 1)
    assert [alarm.body for alarm in address.taken] == [body(0), body(1)]


def test_alarms_that_are_too_large_cost_the_others_nothing(outbox: Outbox, clock: Clock) -> None:
    address = Address("a")
    address.too_large = {body(n) for n in range(20)}
    reporter = make(outbox, [address], clock)
    add(outbox, *range(20))
    for number in range(20, 80):
        add(outbox, number)
        run(reporter, clock, 1)
        assert address.taken[-1].body == body(number), "delivered within a second"
    assert outbox.counters.pending == 20
    assert "413" in reporter.last_error or not reporter.last_error


def test_an_address_that_fails_slowly_is_asked_last(
    outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable(Address):
        def send(self, alarm: Alarm) -> None:
            passed[0] += 3.0  # the time to connect
            super().send(alarm)

    passed = [0.0]
    monkeypatch.setattr("streamserver.business.reporter.time.monotonic", lambda: passed[0])
    away, good = Unreachable("away", works=False), Address("good")
    reporter = make(outbox, [away, good], clock)
    add(outbox, *range(20))
    run(reporter, clock, 0)
    assert len(good.taken) == 20 and away.asked == 1
    away.works = True
    run(reporter, clock, 61)
    add(outbox, *range(20, 24))
    run(reporter, clock, 0)
    assert len(away.taken) == 2


def test_hurry_makes_everything_due(outbox: Outbox, clock: Clock) -> None:
    address = Address("a", works=False)
    reporter = make(outbox, [address], clock)
    add(outbox, 1, 2)
    run(reporter, clock, 300)
    address.works = True
    reporter.hurry()
    run(reporter, clock, 0)
    assert len(address.taken) == 2


def test_a_sink_that_breaks_counts_as_failed(outbox: Outbox, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Address):
        def send(self, alarm: Alarm) -> None:
            raise ZeroDivisionError("oh")

    good = Address("good")
    add(outbox, 1)
    run(make(outbox, [Broken("broken"), good], clock), clock, 0)
    assert len(good.taken) == 1 and "Traceback" in caplog.text


def test_the_local_copy_is_written_first_and_once(outbox: Outbox, clock: Clock) -> None:
    archive, address = Address("folder"), Address("a", works=False)
    reporter = make(outbox, [address], clock, archive)
    add(outbox, 1)
    run(reporter, clock, 100)
    assert archive.asked == 1 and address.asked > 2
    assert outbox.counters.pending == 1


def test_a_local_copy_that_fails_is_counted_and_does_not_stop_the_report(outbox: Outbox, clock: Clock) -> None:
    archive, address = Address("folder", works=False), Address("a")
    reporter = make(outbox, [address], clock, archive)
    add(outbox, 1)
    run(reporter, clock, 0)
    assert len(address.taken) == 1 and outbox.counters.delivered == 1
    assert reporter.archive_failures == 1


def test_without_addresses_the_local_copy_is_the_delivery(outbox: Outbox, clock: Clock, tmp_path: Path) -> None:
    reporter = make(outbox, [], clock, FileSink(tmp_path / "events"))
    (tmp_path / "events").touch()
    add(outbox, 1)
    run(reporter, clock, 0)
    assert outbox.counters.pending == 1 and "events" in reporter.last_error
    (tmp_path / "events").unlink()
    run(reporter, clock, 10)
    assert outbox.counters.delivered == 1 and len(list((tmp_path / "events").rglob("*.json"))) == 1


def test_without_any_sink_alarms_are_counted_only(outbox: Outbox, clock: Clock) -> None:
    add(outbox, 1, 2)
    run(make(outbox, [], clock), clock, 0)
    assert outbox.counters.delivered == 2


def test_a_delivery_that_cannot_be_recorded_is_not_repeated(
    outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Address("a")
    reporter = make(outbox, [address], clock)
    add(outbox, 1, 2)

    def disk_full(event_id: str) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "delivered", disk_full)
        for _ in range(3):
            with pytest.raises(StoreError):
                reporter.step()
    assert len(address.taken) == 1
    run(reporter, clock, 0)
    assert [alarm.body for alarm in address.taken] == [body(1), body(2)]
    assert outbox.counters.delivered == 2


def test_the_thread_delivers_what_is_added_and_ends_when_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.sqlite", max_bytes=10**9)
    with receiver() as address:
        sink = HttpSink(address.url, task_id="t", connect_timeout_s=1, total_timeout_s=2)
        reporter = Reporter(outbox, [sink])
        reporter.start()
        for number in range(20):
            add(outbox, number)
            reporter.wake()
        wait_until(lambda: len(address.posts) == 20, what="all are delivered")
        assert address.frames() == list(range(20))
        assert reporter.stop(2.0)
    assert outbox.counters.delivered == 20
    outbox.close()


def test_a_post_in_flight_is_finished_before_the_end_and_the_rest_stays(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.sqlite", max_bytes=10**9)
    asked, answer = threading.Event(), threading.Event()

    class Slow(Address):
        def send(self, alarm: Alarm) -> None:
            asked.set()
            answer.wait()
            super().send(alarm)

    slow = Slow("slow")
    reporter = Reporter(outbox, [slow])
    add(outbox, 1, 2)
    reporter.start()
    asked.wait()
    assert reporter.stop(0.01) is False  # still waiting for the receiver
    answer.set()
    assert reporter.stop(5.0)
    assert [alarm.body for alarm in slow.taken] == [body(1)]
    assert outbox.counters.pending == 1
    outbox.close()


def test_the_thread_outlives_a_broken_outbox(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.sqlite", max_bytes=10**9)
    outbox.close()
    reporter = Reporter(outbox, [Address("a")])
    reporter.start()
    wait_until(lambda: reporter.last_error, what="the error is told")
    assert "closed" in reporter.last_error
    assert reporter.stop(2.0)
