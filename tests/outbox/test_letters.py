from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.errors import StoreError
from streamserver.outbox.letters import DeadLetter, dead_letters, replay
from tests.business.support import REPOSITORY
from tests.outbox.support import FILE, event, make, number_of


def bury(folder: Path, count: int) -> list[str]:
    """An outbox with so many dead letters, and one alarm that waits; returns their ids."""
    outbox = make(folder, wall=lambda: 1.7e9)
    outbox.add([event(number, algorithm=1) for number in range(count + 1)])
    ids = []
    for found in outbox.claim(count):
        outbox.bury(found.id, f"code -1: 参数错误 {number_of(found)}")
        ids.append(found.id)
    outbox.close()
    return ids


def test_dead_letters_are_listed_page_by_page(tmp_path: Path) -> None:
    ids = bury(tmp_path, 5)
    first = dead_letters(tmp_path / FILE, limit=3)
    assert first[0] == DeadLetter(ids[0], 1.7e9, 1, "code -1: 参数错误 0", 1, len(event(0).body))
    rest = dead_letters(tmp_path / FILE, limit=3, after=first[-1].id)
    assert [letter.id for letter in first + rest] == ids


def test_a_replay_is_noticed_by_the_one_who_delivers(tmp_path: Path) -> None:
    ids = bury(tmp_path, 3)
    outbox = make(tmp_path)
    outbox.delivered([found.id for found in outbox.claim(5)])
    assert not outbox.maintain() and outbox.due_in() is None
    program = "import sys; from pathlib import Path; from streamserver.outbox.letters import replay\n"
    program += "print(replay(Path(sys.argv[1]), sys.argv[2:] or None))"
    command = [sys.executable, "-c", program, str(tmp_path / FILE)]
    other = subprocess.run([*command, ids[1], "unknown"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "1"
    assert outbox.maintain() and not outbox.maintain()
    assert (outbox.counters.dead, outbox.counters.pending) == (2, 1)
    [found] = outbox.claim(5)
    assert (found.id, found.attempt, found.refusals) == (ids[1], 2, 0)
    other = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "2" and outbox.maintain()
    assert [found.id for found in outbox.claim(5)] == [ids[0], ids[2]]
    outbox.close()


def test_listing_loads_no_sqlalchemy() -> None:
    program = "import sys, streamserver.outbox.letters; print([name for name in sys.modules if 'sqlalchemy' in name])"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_file_has_no_letters_and_is_not_made(tmp_path: Path) -> None:
    assert dead_letters(tmp_path / FILE, limit=5) == [] and replay(tmp_path / FILE, None) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"garbage " * 1000], ids=["empty", "garbage"])
def test_a_file_that_is_no_outbox_gives_nothing_or_an_error_with_a_cure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    for work in (lambda: dead_letters(tmp_path / FILE, limit=5), lambda: replay(tmp_path / FILE, None)):
        try:
            assert not work()
        except StoreError as e:
            assert e.cure


def test_a_foreign_database_has_no_letters(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE events (what)")
    connection.close()
    assert dead_letters(tmp_path / FILE, limit=5) == [] and replay(tmp_path / FILE, ["x"]) == 0
