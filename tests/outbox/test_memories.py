"""What algorithms remember: kept with the alarms of the same frame, through kills, damage and older versions."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from streamserver.core import failpoints
from streamserver.core.errors import StoreError
from streamserver.durable import back_up
from streamserver.outbox.records import Memory
from streamserver.outbox.schema import SCHEMA
from tests.business.support import REPOSITORY
from tests.outbox.support import FILE, copy, event, make, number_of, spoil, take_all

V2 = REPOSITORY / "tests" / "fixtures" / "databases" / "outbox_v2.sqlite"

COUNT = """if True:
    import sys
    from pathlib import Path
    from streamserver.outbox.records import Memory
    from tests.outbox.support import event, make
    outbox = make(Path(sys.argv[1]))
    for number in range(1, 100):
        outbox.add([event(number, key=str(number))], Memory(algorithm=0, content=str(number), place=(0, number, 0)))
        print(number, flush=True)
"""


def memory(total: int, *, algorithm: int = 0) -> Memory:
    return Memory(algorithm=algorithm, content=f'{{"In": {total}}}', place=(total // 100, total, 5_000_000 + total))


def test_each_algorithm_finds_what_it_remembered_last(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    assert outbox.recall(0) is None
    outbox.remember(memory(1))
    outbox.add([event(1)], memory(2))
    outbox.remember(memory(7, algorithm=1))
    assert (outbox.recall(0), outbox.recall(1), outbox.recall(2)) == (memory(2), memory(7, algorithm=1), None)
    outbox.close()
    outbox = make(tmp_path)
    assert (outbox.recall(0), outbox.recall(1)) == (memory(2), memory(7, algorithm=1))
    assert outbox.counters.events == 1
    outbox.close()


@pytest.mark.parametrize("point, more", [("commit.before", 0), ("commit.after", 1)])
@pytest.mark.parametrize("at", [1, 7])
def test_after_a_kill_the_memory_is_that_of_the_last_alarm(tmp_path: Path, point: str, more: int, at: int) -> None:
    environment = {**os.environ, failpoints.VARIABLE: f"{point}=kill@{at}"}
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    outbox = make(tmp_path)
    kept = at - 1 + more
    assert sorted(number_of(found) for found in take_all(outbox)) == list(range(1, kept + 1))
    found = outbox.recall(0)
    assert (None if found is None else found.content) == (str(kept) if kept else None)
    outbox.close()


def test_when_the_disk_is_full_neither_the_alarm_nor_the_memory_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)], memory(1))

    def full(_name: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", full)
        with pytest.raises(StoreError):
            outbox.add([event(2)], memory(2))
    assert outbox.recall(0) == memory(1) and outbox.counters.events == 1
    outbox.close()


@pytest.mark.parametrize("column, value", [("content", '{"In": 999}'), ("frame", 9), ("n", 77), ("seal", 5)])
@pytest.mark.parametrize("backed_up", [True, False], ids=["with a backup", "without"])
def test_a_memory_that_was_spoiled_is_that_of_the_backup_or_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: object, backed_up: bool
) -> None:
    outbox = make(tmp_path)
    outbox.remember(memory(3))
    if backed_up:
        back_up(tmp_path / FILE, check=SCHEMA)
    outbox.remember(memory(4))
    outbox.remember(memory(8, algorithm=1))
    outbox.close()
    spoil(tmp_path / FILE, f"UPDATE memories SET {column} = ? WHERE algorithm = 0", value)
    with caplog.at_level(logging.ERROR):
        outbox = make(tmp_path)
    assert outbox.recall(0) == (memory(3) if backed_up else None)
    assert outbox.recall(1) == memory(8, algorithm=1)
    said = "algorithm 0 goes on with what it remembered" if backed_up else "it begins anew"
    assert said in caplog.text
    outbox.close()


def test_a_damaged_file_gives_the_newest_memory_that_is_sound_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)], memory(3))
    back_up(tmp_path / FILE, check=SCHEMA)
    outbox.add([event(2)], memory(4))
    outbox.close()
    header = copy(tmp_path)
    with (header / FILE).open("r+b") as file:
        file.seek(20)
        file.write(b"\xff\xff\xff\xff")
    (tmp_path / FILE).write_bytes(b"gone" * 2000)
    for folder, known in ((tmp_path, 3), (header, 4)):
        caplog.clear()
        outbox = make(folder, known_events=2)
        found = outbox.recall(0)
        assert found is not None and found in (memory(known), memory(3))
        assert "goes on with what it remembered at loop 0" in caplog.text
        assert list(folder.glob("*.damaged-*"))
        outbox.close()


def test_a_spoiled_memory_becomes_no_backup(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.remember(memory(3))
    outbox.close()
    spoil(tmp_path / FILE, "UPDATE memories SET content = 'x'")
    with pytest.raises(StoreError, match="algorithm 0"):
        back_up(tmp_path / FILE, check=SCHEMA)


def test_a_file_of_version_2_is_migrated_and_loses_nothing(tmp_path: Path) -> None:
    shutil.copy(V2, tmp_path / FILE)
    with closing(sqlite3.connect(V2)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        before = connection.execute("SELECT * FROM events ORDER BY n").fetchall()
        bodies = connection.execute("SELECT * FROM bodies ORDER BY n").fetchall()
        counters = connection.execute("SELECT * FROM counters ORDER BY name").fetchall()
    outbox = make(tmp_path)
    assert outbox.recall(0) is None
    outbox.remember(memory(1))
    assert outbox.counters.events == 12 and outbox.counters.lost == 0
    outbox.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        after = connection.execute("SELECT * FROM events ORDER BY n").fetchall()
        assert [row[:12] for row in after] == [row[:12] for row in before]
        assert connection.execute("SELECT * FROM bodies ORDER BY n").fetchall() == bodies
        assert connection.execute("SELECT * FROM counters ORDER BY name").fetchall() == counters
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_backup_of_version_2_gives_its_alarms_to_a_damaged_file(tmp_path: Path) -> None:
    shutil.copy(V2, tmp_path / f"{FILE}.backup")
    (tmp_path / FILE).write_bytes(b"gone" * 2000)
    outbox = make(tmp_path, known_events=12)
    assert (outbox.counters.events, outbox.counters.lost) == (12, 0)
    outbox.close()
