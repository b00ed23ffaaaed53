from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest

from streamserver.core.errors import StoreError
from streamserver.outbox.box import Counters
from streamserver.outbox.records import LIVE_KEY, NewEvent
from tests.outbox.support import FILE, Clock, copy, event, make, number_of, numbers, take_all

PATIENCE_S = 60.0


def test_an_event_is_due_at_once_and_gone_once_delivered(tmp_path: Path) -> None:
    outbox = make(tmp_path, wall=lambda: 1_700_000_000.0)
    assert outbox.add([event(1), event(2)]) == 2
    first, second = outbox.claim(10)
    assert (first.body, first.attempt, first.created) == (event(1).body, 1, 1_700_000_000.0)
    assert first.id < second.id and not first.archived and first.refusals == 0
    assert outbox.claim(10) == [] and outbox.due_in() is None  # both are under way
    outbox.delivered([first.id])
    assert outbox.counters.pending == 1
    outbox.failed(second.id, 0.0, "no answer")
    assert outbox.due_in() == 0
    [again] = outbox.claim(10)
    assert (again.id, again.attempt) == (second.id, 2)
    outbox.delivered([again.id])
    assert outbox.counters == Counters(events=2, delivered=2, per_algorithm=((0, 2),))
    outbox.close()


def test_the_pictures_of_a_delivered_alarm_are_not_written_over(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([NewEvent(algorithm=0, body=b"x" * 300_000)])
    [only] = outbox.claim(1)
    log = (tmp_path / FILE).with_name(f"{FILE}-wal")
    before = log.stat().st_size
    outbox.delivered([only.id])
    assert 0 < log.stat().st_size - before < 100_000
    outbox.close()


def test_an_event_that_failed_waits_until_its_next_try(tmp_path: Path) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock)
    outbox.add([event(1), event(2)])
    first, second = outbox.claim(2)
    outbox.failed(first.id, 30.0, "no answer")
    outbox.failed(second.id, 20.0, "refused", refused=True)
    assert outbox.claim(2) == [] and outbox.due_in() == 20.0
    clock.now += 30
    assert [(number_of(found), found.attempt, found.refusals) for found in outbox.claim(2)] == [(2, 2, 1), (1, 2, 0)]
    outbox.close()


def test_what_is_due_next_can_be_claimed_before_its_time(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    for found, delay_s in zip(outbox.claim(2), (1800.0, 30.0), strict=True):
        outbox.failed(found.id, delay_s, "no answer")
    assert [number_of(found) for found in outbox.claim(1, early=True)] == [2]
    assert [number_of(found) for found in outbox.claim(5, early=True)] == [1]
    assert outbox.claim(5, early=True) == []
    outbox.close()


def test_all_that_waits_can_be_made_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.outbox.box._RETRY_STEP", 50)
    outbox = make(tmp_path)
    outbox.add([event(number) for number in range(101)])
    *failed, under_way = take_all(outbox)
    for found in failed:
        outbox.failed(found.id, 600.0, "no answer")
    assert outbox.due_in() == 600.0
    outbox.retry_now()
    assert outbox.due_in() == 0.0
    assert {found.id for found in take_all(outbox)} == {found.id for found in failed}
    assert under_way.id not in {found.id for found in failed}
    outbox.close()


def test_what_was_claimed_and_not_tried_is_due_again_and_was_no_attempt(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    outbox.unclaim([found.id for found in outbox.claim(2)])
    assert [found.attempt for found in outbox.claim(2)] == [1, 1]
    outbox.close()


def test_an_attempt_counts_on_the_disk_before_anything_is_sent(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    outbox.claim(1)
    killed = copy(tmp_path)
    outbox.close()
    outbox = make(killed)
    assert [found.attempt for found in outbox.claim(1)] == [2]
    outbox.close()


def test_whoever_waits_for_an_alarm_gets_it_without_another_commit(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    assert outbox.claim(2) == []
    outbox.add([event(number, key=str(number)) for number in (1, 1, 2, 3)])
    commits = outbox._file.commits
    assert outbox.due_in() == 0.0
    assert [(number_of(found), found.attempt) for found in outbox.claim(5)] == [(1, 1), (2, 1)]
    assert outbox._file.commits == commits
    assert [number_of(found) for found in outbox.claim(5)] == [3]
    outbox.close()
    outbox = make(tmp_path)
    assert sorted(number_of(found) for found in take_all(outbox)) == [1, 2, 3]
    outbox.close()


def test_what_nobody_fetched_is_given_back_at_the_end(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.claim(1)
    outbox.add([event(1)])
    outbox.close()
    outbox = make(tmp_path)
    assert [found.attempt for found in outbox.claim(1)] == [1]
    outbox.close()


def test_after_a_reboot_everything_is_due(tmp_path: Path) -> None:
    outbox = make(tmp_path, Clock(90_000.0))
    outbox.add([event(1), event(2)])
    outbox.failed(outbox.claim(1)[0].id, 1800.0, "no answer")
    outbox.close()
    outbox = make(tmp_path, Clock(90_001.0))
    assert numbers(outbox) == [2]
    outbox.close()
    outbox = make(tmp_path, Clock(5.0), boot="the next boot")
    assert numbers(outbox) == [1, 2]
    outbox.close()


def test_ids_grow_although_the_clock_goes_back(tmp_path: Path) -> None:
    ids: list[str] = []
    for wall in (4e9, 1e9, 1.7e9):
        outbox = make(tmp_path, wall=lambda wall=wall: wall)
        outbox.add([event(number) for number in range(3)])
        ids += [found.id for found in sorted(outbox.claim(3), key=lambda found: found.id)]
        outbox.delivered(ids)
        outbox.close()
    assert ids == sorted(ids) and len(set(ids)) == 9 and {UUID(event_id).version for event_id in ids} == {7}


def test_a_known_key_is_left_out_also_after_its_delivery_and_a_restart(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    assert outbox.add([event(1, key="0:0:7:0"), event(1, key="0:0:7:0"), event(1), event(1)]) == 3
    outbox.delivered([found.id for found in outbox.claim(10)])
    outbox.close()
    outbox = make(tmp_path)
    assert outbox.add([event(1, key="0:0:7:0"), event(1, key="1:0:7:0")]) == 1
    assert outbox.counters.events == 4
    outbox.close()


def test_counters_survive_a_restart(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2, algorithm=2), event(3, algorithm=2), event(4)])
    first, second = outbox.claim(2)
    outbox.delivered([first.id])
    outbox.bury(second.id, "no picture")
    before = outbox.counters
    outbox.close()
    outbox = make(tmp_path)
    size = len(event(2).body) * 3
    wanted = Counters(events=4, delivered=1, dead=1, pending_bytes=size, per_algorithm=((0, 2), (2, 2)))
    assert outbox.counters == before == wanted and wanted.pending == 2
    outbox.close()


def test_a_second_process_does_not_deliver_what_one_has_under_way(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    outbox.claim(1)
    with pytest.raises(StoreError, match="another process delivers"):
        make(tmp_path)
    outbox.unclaim([])
    assert outbox.claim(1) == [], "it is still under way"
    outbox.close()
    outbox = make(tmp_path)
    assert take_all(outbox)
    outbox.close()


def test_an_end_counts_once(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    [only] = outbox.claim(1)
    for _ in range(3):
        outbox.delivered([only.id, only.id])
    outbox.failed(only.id, 0, "too late")
    outbox.bury(only.id, "too late")
    outbox.unclaim([only.id])
    outbox.delivered(["unknown"])
    assert outbox.counters == Counters(events=1, delivered=1, per_algorithm=((0, 1),))
    assert outbox.claim(1) == []
    outbox.close()


def test_the_oldest_are_dropped_and_counted_when_too_much_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock, max_bytes=10_000)
    for number in range(15):
        outbox.add([event(number, size=1000, key=str(number))])
    assert numbers(outbox) == list(range(5, 15))
    assert (outbox.counters.dropped, outbox.counters.pending, outbox.counters.events) == (5, 10, 15)
    assert outbox.add([event(0, key="0")]) == 0  # a dropped event does not come back when the file is played again
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    clock.now += 61
    outbox.add([event(99, size=50_000)])  # larger than the limit: still kept, alone
    assert outbox.counters.pending == 1 and "14 alarms were dropped (15 in all)" in caplog.text
    outbox.close()


def test_dead_letters_count_towards_the_limit_and_what_is_under_way_is_not_dropped(tmp_path: Path) -> None:
    outbox = make(tmp_path, max_bytes=3000)
    outbox.add([event(number, size=1000) for number in range(3)])
    under_way, buried = outbox.claim(2)
    outbox.bury(buried.id, "no picture")
    outbox.add([event(3, size=1000)])
    assert (outbox.counters.dead, outbox.counters.dropped) == (0, 1)
    outbox.add([event(4, size=1000)])
    assert numbers(outbox) == [3, 4]
    outbox.delivered([under_way.id])
    assert outbox.counters == Counters(events=5, delivered=1, dropped=2, pending_bytes=2000, per_algorithm=((0, 5),))
    outbox.close()


def test_alarms_are_given_up_after_so_much_running_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    clock, wall = Clock(), Clock(1.7e9)
    outbox = make(tmp_path, clock, max_age_s=3600.0, wall=wall)
    outbox.add([event(1), event(2)])
    outbox.bury(outbox.claim(1)[0].id, "no picture")
    wall.now += 10 * 365 * 86400
    clock.now += 3000
    outbox.maintain()
    assert outbox.counters.dropped == 0
    outbox.close()
    clock, wall = Clock(5.0), Clock(1e9)  # the machine was off for long: that time does not count
    outbox = make(tmp_path, clock, max_age_s=3600.0, wall=wall, boot="next")
    outbox.add([event(3)])
    clock.now += 500
    outbox.maintain()
    assert outbox.counters.dropped == 0
    clock.now += 101
    outbox.maintain()
    assert (outbox.counters.dropped, outbox.counters.dead, outbox.counters.pending) == (2, 0, 1)
    assert numbers(outbox) == [3]
    outbox.close()


def test_the_age_of_what_waits_survives_a_kill(tmp_path: Path) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock, max_age_s=3600.0)
    outbox.add([event(1)])
    for _ in range(70):
        clock.now += 60
        killed = copy(tmp_path, f"killed at {clock.now}")
        if clock.now - 1000 < 3500:
            outbox.maintain()
    outbox.close()
    outbox = make(killed, clock, max_age_s=3500.0)
    outbox.maintain()
    clock.now += 150
    outbox.maintain()
    assert outbox.counters.dropped == 1
    outbox.close()


def test_the_newest_keys_are_remembered_and_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.outbox.box._PRUNE_EVERY", 32)
    outbox = make(tmp_path, keep_keys=20)
    outbox.add([event(0, key="waits")])
    outbox.failed(outbox.claim(1)[0].id, 1e6, "no answer")
    for number in range(1, 128):
        outbox.add([event(number, key=str(number))])
        outbox.delivered([found.id for found in outbox.claim(1)])
    assert outbox.add([event(5, key="5"), event(125, key="125"), event(0, key="waits")]) == 1
    assert [number_of(found) for found in outbox.claim(1, early=True)] == [5]
    assert [number_of(found) for found in outbox.claim(1, early=True)] == [0]
    outbox.close()
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("SELECT count(*) FROM events").fetchone()[0] < 60
    connection.close()


def test_keys_of_live_alarms_are_forgotten_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.outbox.rows._KEYLESS_KEPT", 10)
    outbox = make(tmp_path)
    for number in range(256):
        outbox.add([event(number, key=f"{LIVE_KEY if number % 2 else 'file'}{number}")])
        outbox.delivered([found.id for found in outbox.claim(1)])
    assert outbox.add([event(251, key=f"{LIVE_KEY}251"), event(2, key="file2")]) == 0
    assert outbox.add([event(1, key=f"{LIVE_KEY}1")]) == 1
    outbox.close()


def test_the_file_shrinks_when_bodies_have_been_delivered(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number, size=200_000) for number in range(40)])
    outbox.delivered([found.id for found in take_all(outbox)])
    outbox.maintain()
    outbox.close()
    assert (tmp_path / FILE).stat().st_size < 2_500_000


def test_threads_share_commits_and_none_gets_what_another_has(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    delivered: list[str] = []
    deadline = time.monotonic() + PATIENCE_S

    def add(algorithm: int) -> None:
        for number in range(50):
            outbox.add([event(number, algorithm=algorithm, key=f"{algorithm}:{number}")])

    def deliver() -> None:
        while outbox.counters.delivered < 200 and time.monotonic() < deadline:
            found = outbox.claim(3)
            if not found:
                time.sleep(0.001)
            outbox.delivered([pending.id for pending in found])
            delivered.extend(pending.id for pending in found)

    threads = [threading.Thread(target=add, args=(algorithm,)) for algorithm in range(4)]
    threads += [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.counters.per_algorithm == ((0, 50), (1, 50), (2, 50), (3, 50))
    assert outbox.counters.pending == 0 and len(delivered) == len(set(delivered)) == 200
    outbox.close()


def test_those_who_wait_for_the_disk_together_have_one_commit_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    file, results = outbox._file, dict[int, object]()
    inside, others_queued = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        inside.set()
        assert others_queued.wait(2 * PATIENCE_S)

    def add(number: int) -> None:
        bad = [event(number), event(number, algorithm=None)]  # type: ignore[arg-type]  # breaks after the first row
        try:
            results[number] = outbox.add(bad if number == 3 else [event(number)])
        except StoreError as e:
            results[number] = str(e)

    threads = [threading.Thread(target=lambda: file.write(hold))]
    threads[0].start()
    assert inside.wait(PATIENCE_S)
    threads += [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while len(file._queue) < 8:
        assert time.monotonic() < deadline, f"only {len(file._queue)} of 8 wait"
        time.sleep(0.001)
    commits = file.commits
    others_queued.set()
    for thread in threads:
        thread.join()
    assert file.commits == commits + 2  # the one that was held, and one for all
    assert "NOT NULL" in str(results.pop(3)) and set(results.values()) == {1}
    assert sorted(number_of(found) for found in take_all(outbox)) == [0, 1, 2, 4, 5, 6, 7]
    outbox.close()


def test_it_tells_for_how_long_the_oldest_that_waits_has_and_how_many_waited_too_long(tmp_path: Path) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock, max_age_s=100)
    outbox.add([event(1), event(2)])
    outbox.bury(outbox.claim(1)[0].id, "refused")
    clock.now += 60
    outbox.add([event(3)])
    outbox.maintain()
    assert outbox.oldest_age_s == 60, "of the second: a dead letter waits for a person"
    clock.now += 50
    outbox.maintain()
    outbox.maintain()
    assert (outbox.counters.dropped, outbox.counters.expired) == (2, 2)
    assert outbox.oldest_age_s == 50
    outbox.delivered([outbox.claim(1)[0].id])
    assert outbox.oldest_age_s == 0
    outbox.close()
