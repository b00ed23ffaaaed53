from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from streamserver.core.errors import StoreError
from streamserver.durable import back_up
from streamserver.outbox.box import Counters
from streamserver.outbox.letters import dead_letters
from streamserver.outbox.schema import SCHEMA
from tests.outbox.support import FILE, Clock, copy, event, make, number_of, numbers, spoil, take_all
from tests.searching import SEARCHING

OLD = Path(__file__).resolve().parents[1] / "fixtures" / "databases" / "outbox_v1.sqlite"


def test_a_file_of_version_1_is_migrated_and_loses_nothing(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / FILE)
    with closing(sqlite3.connect(OLD)) as connection:
        counters = dict(connection.execute("SELECT name, value FROM counters"))
        waiting = dict(connection.execute("SELECT id, body FROM events WHERE done IS NULL"))
        attempts = dict(connection.execute("SELECT id, attempts FROM events WHERE done IS NULL"))
        keys = [row[0] for row in connection.execute("SELECT event_key FROM events WHERE event_key IS NOT NULL")]
    assert waiting and keys and counters["delivered"] and counters["dropped"]
    outbox = make(tmp_path)
    assert outbox.counters.events == counters["events"]
    assert (outbox.counters.delivered, outbox.counters.dropped) == (counters["delivered"], counters["dropped"])
    assert outbox.counters.lost == 0 and outbox.counters.pending == len(waiting)
    assert outbox.add([event(1, key=key) for key in keys]) == 0
    taken = take_all(outbox)
    assert {found.id: found.body for found in taken} == waiting
    assert {found.id: found.attempt - 1 for found in taken} == attempts
    outbox.delivered([found.id for found in taken])
    outbox.close()
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_damaged_file_of_version_1_is_salvaged(tmp_path: Path) -> None:
    content = bytearray(OLD.read_bytes())
    content[20:24] = b"\xff\xff\xff\xff"  # fractions that SQLite insists on
    (tmp_path / FILE).write_bytes(content)
    with closing(sqlite3.connect(OLD)) as connection:
        events = connection.execute("SELECT value FROM counters WHERE name = 'events'").fetchone()[0]
    outbox = make(tmp_path, known_events=events)
    counters = outbox.counters
    assert (
        counters.events == events and counters.pending + counters.lost + counters.delivered + counters.dropped == events
    )
    outbox.close()


@pytest.mark.parametrize("content", [b"no database, but long enough to be looked at" * 20, b"x" * 512])
def test_what_is_no_database_is_moved_aside_and_what_it_held_counts_as_lost(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    known = Counters(events=7, delivered=3, dropped=1, per_algorithm=((0, 7),))
    outbox = make(tmp_path, known=known)
    assert outbox.counters == replace(known, lost=3)
    assert outbox.add([event(1)]) == 1 and outbox.counters.pending == 1
    [aside] = tmp_path.glob(f"{FILE}.damaged-*")
    assert aside.read_bytes() == content
    outbox.close()
    outbox = make(tmp_path, known_events=8)
    assert outbox.counters.lost == 3 and len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1
    outbox.close()


def test_the_backup_gives_what_the_damaged_file_has_not(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number, key=str(number), size=3000) for number in range(20)])
    buried, delivered, later = outbox.claim(3)
    outbox.bury(buried.id, "no picture")
    outbox.delivered([delivered.id])
    back_up(tmp_path / FILE, check=SCHEMA)
    outbox.delivered([later.id])
    outbox.add([event(20, size=3000)])
    outbox.close()
    (tmp_path / FILE).write_bytes(b"gone" * 2000)
    outbox = make(tmp_path, known_events=21)
    # 20 is in no file any more; what was delivered after the backup is sent once more
    assert outbox.counters == Counters(
        events=21, delivered=1, dead=1, lost=1, pending_bytes=19 * 3000, per_algorithm=((0, 20),)
    )
    assert numbers(outbox) == list(range(2, 20))
    assert outbox.add([event(1, key="1")]) == 0
    outbox.close()


def test_an_alarm_that_either_file_says_is_delivered_is_not_sent_again(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number, size=3000) for number in range(12)])
    back_up(tmp_path / FILE, check=SCHEMA)
    outbox.delivered([found.id for found in outbox.claim(10)])
    outbox.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'bodies'").fetchone()[0]
    with (tmp_path / FILE).open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xee" * 4096)
    outbox = make(tmp_path)
    assert list(tmp_path.glob("*.damaged-*"))
    assert numbers(outbox) == [10, 11] and (outbox.counters.delivered, outbox.counters.lost) == (10, 0)
    outbox.close()


@pytest.mark.parametrize("backed_up", [True, False], ids=["with a backup", "without"])
def test_a_damaged_body_is_never_sent(tmp_path: Path, backed_up: bool) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    if backed_up:
        back_up(tmp_path / FILE, check=SCHEMA)
    outbox.close()
    spoil(tmp_path / FILE, "UPDATE bodies SET body = ? WHERE n = 1", event(9).body)
    outbox = make(tmp_path)
    assert [number_of(found) for found in take_all(outbox)] == ([1, 2] if backed_up else [2])
    assert (outbox.counters.lost, outbox.counters.pending) == ((0, 2) if backed_up else (1, 1))
    outbox.close()


@pytest.mark.parametrize(
    "column, value, kept",
    [
        ("state", 2, True),  # waiting alarms that look delivered would never be sent
        ("state", 3, True),
        ("state", 1, True),
        ("id", "01a1fa80-0000-7000-8000-000000000000", False),
        ("algorithm", 7, False),
        ("created", 5.0, False),
        ("body_sum", 5, False),
        ("seal", 5, False),
    ],
)
def test_a_row_that_was_spoiled_is_noticed(tmp_path: Path, column: str, value: object, kept: bool) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    outbox.close()
    backed_up = copy(tmp_path)
    back_up(backed_up / FILE, check=SCHEMA)
    for folder in (tmp_path, backed_up):
        spoil(folder / FILE, f"UPDATE events SET {column} = ? WHERE n = 1", value)
    outbox = make(tmp_path)
    assert numbers(outbox) == ([1, 2] if kept else [2])
    assert (outbox.counters.lost, outbox.counters.pending) == (0 if kept else 1, 2 if kept else 1)
    outbox.close()
    outbox = make(backed_up)
    assert numbers(outbox) == [1, 2] and (outbox.counters.lost, outbox.counters.pending) == (0, 2)
    outbox.close()


@pytest.mark.parametrize(
    "column, value",
    [("attempts", "x"), ("refusals", -5), ("next_try", 1e300), ("next_try", "never"), ("error", b"\xff")],
)
def test_what_no_checksum_covers_holds_up_nothing(tmp_path: Path, column: str, value: object) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    outbox.bury(outbox.claim(1)[0].id, "no picture")
    outbox.close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as connection:
        connection.execute(f"UPDATE events SET {column} = ?", (value,))
    assert len(dead_letters(tmp_path / FILE, limit=5)) == 1
    outbox = make(tmp_path)
    assert numbers(outbox) == [2] and outbox.counters.lost == 0
    outbox.close()


@pytest.mark.parametrize("value", ["1e300", "1e300 5", "", b"\xff"])
def test_a_spoiled_clock_makes_nothing_too_old(tmp_path: Path, value: object) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock)
    clock.now += 5000
    outbox.add([event(1)])
    outbox.close()
    spoil(tmp_path / FILE, "UPDATE facts SET value = ? WHERE name = 'service'", value)
    outbox = make(tmp_path, clock, max_age_s=1000.0)
    outbox.maintain()
    assert outbox.counters.dropped == 0
    clock.now += 1001
    outbox.maintain()
    assert outbox.counters.dropped == 1
    outbox.close()


def test_a_counter_that_was_spoiled_is_counted_anew(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2)])
    outbox.delivered([outbox.claim(1)[0].id])
    outbox.close()
    spoil(tmp_path / FILE, "UPDATE counters SET value = 999 WHERE name = 'events'")
    outbox = make(tmp_path)
    assert outbox.counters == Counters(events=2, delivered=1, pending_bytes=len(event(2).body), per_algorithm=((0, 2),))
    outbox.close()


def test_a_write_ahead_log_that_is_gone_is_noticed(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    outbox.close()
    outbox = make(tmp_path)
    outbox.add([event(2), event(3)])
    killed = copy(tmp_path)
    outbox.close()
    (killed / f"{FILE}-wal").unlink()
    outbox = make(killed, known_events=3)
    assert (outbox.counters.events, outbox.counters.lost, numbers(outbox)) == (3, 2, [1])
    outbox.close()


def test_a_file_that_breaks_in_use_is_mended_and_what_is_under_way_is_not_handed_out_again(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number, size=3000) for number in range(20)])
    back_up(tmp_path / FILE, check=SCHEMA)
    under_way, delivered = outbox.claim(2)
    outbox.delivered([delivered.id])
    connection = outbox._file._connection
    assert connection is not None
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA cache_size = 0")
    size = (tmp_path / FILE).stat().st_size
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (size - 4096))
    connection.execute("PRAGMA shrink_memory")
    assert outbox.add([event(77)]) == 1
    assert list(tmp_path.glob("*.damaged-*"))
    rest = take_all(outbox)
    assert under_way.id not in {found.id for found in rest} and 77 in {number_of(found) for found in rest}
    outbox.delivered([under_way.id])
    assert outbox.counters.lost == 0 and outbox.counters.events == 21
    outbox.close()


def test_damage_that_only_a_query_meets_is_mended_without_losing_what_is_sound(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(number) for number in range(5)])
    [under_way] = outbox.claim(1)
    hits = []

    def meets_damage(connection: sqlite3.Connection) -> int:
        hits.append(1)
        if len(hits) == 1:
            raise sqlite3.DatabaseError("malformed page")
        count: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        return count

    assert outbox._file.write(meets_damage) == 5
    assert list(tmp_path.glob("*.damaged-*"))
    assert numbers(outbox) == [1, 2, 3, 4] and outbox.counters.pending == 5 and outbox.counters.lost == 0
    outbox.delivered([under_way.id])
    outbox.close()


def test_a_file_of_a_version_that_never_was_is_moved_aside(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE events (what)")
    outbox = make(tmp_path)
    assert outbox.add([event(1)]) == 1
    assert list(tmp_path.glob("*.damaged-*"))
    outbox.close()


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as connection:
        connection.execute("INSERT INTO schema_history VALUES (99, '99.0', 0)")
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"99\.0"):
        make(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_random_damage_never_stops_the_outbox_and_sends_nothing_wrong(tmp_path: Path) -> None:
    chance = random.Random(7)
    for round_ in range(300 if SEARCHING else 12):
        folder = tmp_path / str(round_)
        folder.mkdir()
        outbox = make(folder)
        outbox.add([event(number, size=2000, key=str(number)) for number in range(20)])
        bodies = {found.id: found.body for found in take_all(outbox)}
        if round_ % 2:
            back_up(folder / FILE, check=SCHEMA)
        outbox.close()
        content = bytearray((folder / FILE).read_bytes())
        for _ in range(5):
            start = chance.randrange(len(content) - 64)
            content[start : start + 64] = chance.randbytes(64)
        (folder / FILE).write_bytes(content)
        outbox = make(folder, known_events=20)
        outbox.add([event(99, size=500)])
        left = [found for found in take_all(outbox) if number_of(found) != 99]
        assert all(bodies[found.id] == found.body for found in left)
        outbox.delivered([found.id for found in left])
        counters = outbox.counters
        assert counters.events == 21 and counters.pending == 1 and counters.delivered + counters.lost == 20
        if round_ % 2:
            assert counters.lost == 0
        before = sorted(file.name for file in folder.glob("*.damaged-*"))
        outbox.close()
        outbox = make(folder, known_events=21)
        assert outbox.counters == counters
        assert sorted(file.name for file in folder.glob("*.damaged-*")) == before
        outbox.close()


def test_a_backup_is_made_when_it_is_due_and_never_from_damaged_rows(tmp_path: Path) -> None:
    clock = Clock()
    outbox = make(tmp_path, clock, backup_interval_s=0.001)
    outbox.add([event(1), event(2)])
    clock.now += 1
    outbox.maintain()
    outbox._upkeep.close()
    backup = tmp_path / f"{FILE}.backup"
    good = backup.read_bytes()
    spoil(tmp_path / FILE, "UPDATE bodies SET body = ? WHERE n = 1", event(9).body)
    clock.now += 1
    outbox.maintain()
    outbox._upkeep.close()
    assert backup.read_bytes() == good
    outbox.maintain()
    assert numbers(outbox) == [1, 2] and outbox.counters.lost == 0
    outbox.close()
