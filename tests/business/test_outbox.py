from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamserver.business.outbox import Counters, NewEvent, Outbox
from streamserver.core.errors import StoreError
from tests.business.support import REPOSITORY

NOW = 1_700_000_000.0


def event(number: int = 0, *, key: str | None = None, algorithm: int = 0, size: int = 0) -> NewEvent:
    body = f'[{{"FrameIndex":{number}}}]'.encode().ljust(size)
    return NewEvent(algorithm=algorithm, body=body, key=key)


def make(path: Path, *, max_bytes: int = 10_000_000, keep_keys: int = 100_000) -> Outbox:
    return Outbox(path / "outbox.sqlite", max_bytes=max_bytes, keep_keys=keep_keys, now=lambda: NOW)


def bodies(outbox: Outbox, now: float = NOW) -> list[bytes]:
    return [pending.body for pending in outbox.due(now, 1000)]


def test_an_event_is_due_at_once_and_gone_once_delivered(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    assert outbox.add([event(1), event(2)]) == 2
    first, second = outbox.due(NOW, 10)
    assert (first.body, first.attempts, first.created, first.archived) == (b'[{"FrameIndex":1}]', 0, NOW, False)
    assert first.id < second.id
    outbox.delivered(first.id)
    assert bodies(outbox) == [second.body]
    outbox.delivered(second.id)
    assert bodies(outbox) == [] and outbox.next_try() is None
    outbox.close()


def test_an_event_that_failed_waits_until_its_next_try(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    first = outbox.due(NOW)[0]
    outbox.failed(first.id, NOW + 30, "no answer")
    assert bodies(outbox) == [event(2).body]
    assert outbox.next_try() == NOW
    assert bodies(outbox, NOW + 30) == [event(2).body, event(1).body]
    assert [pending.attempts for pending in outbox.due(NOW + 30, 10)] == [0, 1]
    outbox.retry_now()
    assert len(bodies(outbox)) == 2
    outbox.close()


def test_an_event_is_due_when_the_clock_was_set_back(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    outbox.failed(outbox.due(NOW)[0].id, NOW + 1800, "no answer")
    assert bodies(outbox) == []
    assert bodies(outbox, NOW - 86_400) == [event(1).body]
    outbox.close()


def test_a_known_key_is_left_out_also_after_its_delivery_and_a_restart(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    assert outbox.add([event(1, key="0:0:7:0"), event(1, key="0:0:7:0"), event(1), event(1)]) == 3
    for pending in outbox.due(NOW, 10):
        outbox.delivered(pending.id)
    outbox.close()
    outbox = make(tmp_path)
    assert outbox.add([event(1, key="0:0:7:0"), event(1, key="1:0:7:0")]) == 1
    assert outbox.counters.events == 4
    outbox.close()


def test_counters_survive_a_restart(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2, algorithm=2), event(3, algorithm=2)])
    outbox.delivered(outbox.due(NOW)[0].id)
    outbox.close()
    outbox = make(tmp_path)
    size = len(event(2).body) * 2
    assert outbox.counters == Counters(
        events=3, delivered=1, dropped=0, pending_bytes=size, per_algorithm=((0, 1), (2, 2))
    )
    assert outbox.counters.pending == 2
    outbox.close()


def test_a_delivery_counts_once(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    only = outbox.due(NOW)[0]
    for _ in range(3):
        outbox.delivered(only.id)
    outbox.failed(only.id, NOW, "too late")
    outbox.delivered("unknown")
    assert (outbox.counters.delivered, outbox.counters.pending, outbox.counters.pending_bytes) == (1, 0, 0)
    outbox.close()


def test_the_oldest_are_dropped_and_counted_when_too_much_waits(tmp_path: Path) -> None:
    outbox = make(tmp_path, max_bytes=10_000)
    for number in range(15):
        outbox.add([event(number, size=1000, key=str(number))])
    assert [int(body.split(b":")[1].split(b"}")[0]) for body in bodies(outbox)] == list(range(5, 15))
    assert (outbox.counters.dropped, outbox.counters.pending, outbox.counters.events) == (5, 10, 15)
    assert outbox.add([event(0, key="0")]) == 0  # a dropped event does not come back when the file is played again
    outbox.add([event(99, size=50_000)])  # larger than the limit: still kept, alone
    assert outbox.counters.pending == 1
    outbox.close()


def test_only_the_newest_keys_are_remembered_and_what_waits_is_never_forgotten(tmp_path: Path) -> None:
    outbox = make(tmp_path, keep_keys=100)
    outbox.add([event(0, key="waits")])
    for number in range(1, 1024):
        outbox.add([event(number, key=str(number))])
        outbox.delivered(outbox.due(NOW, 2)[1].id)
    assert bodies(outbox) == [event(0).body]
    assert outbox.add([event(5, key="5"), event(1020, key="1020"), event(0, key="waits")]) == 1
    outbox.close()
    with sqlite3.connect(tmp_path / "outbox.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] < 500
    connection.close()


def test_the_file_shrinks_when_bodies_have_been_delivered(tmp_path: Path) -> None:
    outbox = make(tmp_path, max_bytes=100_000_000)
    outbox.add([event(number, size=200_000) for number in range(40)])
    for _ in range(40):
        outbox.delivered(outbox.due(NOW)[0].id)
    outbox.close()
    assert (tmp_path / "outbox.sqlite").stat().st_size < 2_000_000


def test_threads_can_use_it_together(tmp_path: Path) -> None:
    outbox = make(tmp_path)

    def add(algorithm: int) -> None:
        for number in range(25):
            outbox.add([event(number, algorithm=algorithm, key=f"{algorithm}:{number}")])

    threads = [threading.Thread(target=add, args=(algorithm,)) for algorithm in range(4)]
    for thread in threads:
        thread.start()
    delivered = 0
    while delivered < 100:
        for pending in outbox.due(NOW, 10):
            outbox.delivered(pending.id)
            delivered += 1
    for thread in threads:
        thread.join()
    assert outbox.counters.per_algorithm == ((0, 25), (1, 25), (2, 25), (3, 25))
    assert outbox.counters.pending == 0
    outbox.close()


def test_what_was_added_is_there_after_kill_9(tmp_path: Path) -> None:
    program = """if True:
        import os, signal, sys
        from pathlib import Path
        from streamserver.business.outbox import NewEvent, Outbox
        outbox = Outbox(Path(sys.argv[1]) / "outbox.sqlite", max_bytes=10**9)
        outbox.add([NewEvent(algorithm=0, body=b"[{}]", key="0:0:1:0")])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY).returncode == -9
    outbox = Outbox(tmp_path / "outbox.sqlite", max_bytes=10**9)
    assert outbox.counters.pending == 1
    assert outbox.add([NewEvent(algorithm=0, body=b"[{}]", key="0:0:1:0")]) == 0
    outbox.close()


@pytest.mark.parametrize("content", [b"this is no database at all, but long enough to be looked at" * 20, b"x" * 512])
def test_a_damaged_file_is_moved_aside_and_a_new_one_started(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "outbox.sqlite").write_bytes(content)
    outbox = make(tmp_path)
    assert outbox.add([event(1)]) == 1
    [aside] = tmp_path.glob("outbox.sqlite.damaged-*")
    assert aside.read_bytes() == content
    outbox.close()


def test_a_file_of_another_version_is_moved_aside(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "outbox.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE events (what)")
    connection.close()
    outbox = make(tmp_path)
    assert outbox.add([event(1)]) == 1
    assert list(tmp_path.glob("outbox.sqlite.damaged-*"))
    outbox.close()


def test_a_file_that_breaks_in_use_is_replaced_and_counting_goes_on(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number, size=3000) for number in range(20)])
    outbox.delivered(outbox.due(NOW)[0].id)
    outbox.close()
    file = tmp_path / "outbox.sqlite"
    page = file.read_bytes()[:4096]
    file.write_bytes(page + b"\xff" * (file.stat().st_size - 4096))
    outbox = make(tmp_path)
    assert outbox.add([event(1)]) == 1
    assert len(bodies(outbox)) == 1
    assert list(tmp_path.glob("outbox.sqlite.damaged-*"))
    outbox.close()


def test_random_damage_never_stops_the_outbox(tmp_path: Path) -> None:
    numbers = random.Random(7)
    for round_ in range(30):
        folder = tmp_path / str(round_)
        folder.mkdir()
        outbox = make(folder)
        outbox.add([event(number, size=2000, key=str(number)) for number in range(20)])
        outbox.close()
        content = bytearray((folder / "outbox.sqlite").read_bytes())
        for _ in range(5):
            start = numbers.randrange(len(content) - 64)
            content[start : start + 64] = numbers.randbytes(64)
        (folder / "outbox.sqlite").write_bytes(content)
        outbox = make(folder)
        outbox.add([event(99, size=500)])
        left = outbox.due(NOW + 10, 100)
        for pending in left:
            assert pending.body.startswith(b'[{"FrameIndex":') and pending.body.rstrip().endswith(b"}]")
            outbox.delivered(pending.id)
        outbox.close()


def test_a_damaged_body_is_dropped_not_sent(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    outbox.close()
    with sqlite3.connect(tmp_path / "outbox.sqlite") as connection:
        connection.execute("UPDATE events SET body = ? WHERE n = 1", (b'[{"FrameIndex":9}]',))
    connection.close()
    outbox = make(tmp_path)
    assert bodies(outbox) == [event(2).body]
    assert outbox.counters.dropped == 1
    outbox.close()


def test_an_outbox_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"outbox\.sqlite: unable to open"):
        make(tmp_path / "missing")
    outbox = make(tmp_path)
    outbox.close()
    with pytest.raises(StoreError, match="closed"):
        outbox.add([event(1)])


def test_a_full_file_refuses_new_events_and_keeps_the_old_ones(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    assert outbox._connection is not None
    outbox._connection.execute("PRAGMA max_page_count = 12").fetchall()
    with pytest.raises(StoreError, match="full"):
        outbox.add([event(2, size=500_000)])
    assert outbox.counters.events == 1 and bodies(outbox) == [event(1).body]
    outbox.close()
