from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.core.errors import StoreError
from streamserver.durable.disk import free_bytes
from streamserver.outbox.box import Limits, NewEvent, Outbox
from tests.outbox.support import FILE, event, make, numbers


def test_an_outbox_that_cannot_be_opened_or_is_closed_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing"):
        make(tmp_path / "missing")
    outbox = make(tmp_path)
    outbox.close()
    outbox.close()
    with pytest.raises(StoreError, match="closed"):
        outbox.add([event(1)])
    with pytest.raises(StoreError, match="closed"):
        outbox.claim(1)


def _fill(outbox: Outbox) -> sqlite3.Connection:
    """Lets the file be as large as it is, as on a full disk."""
    connection = outbox._file._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    return connection


def test_a_full_file_refuses_new_events_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    connection = _fill(outbox)
    with pytest.raises(StoreError, match="full"):
        outbox.add([event(2, size=500_000)])
    assert outbox.counters.events == 1
    [found] = outbox.claim(5)
    outbox.delivered([found.id])
    connection.execute("PRAGMA max_page_count = 100000").fetchall()
    outbox.add([event(3, size=500_000)])
    assert numbers(outbox) == [3] and not list(tmp_path.glob("*.damaged-*"))
    outbox.close()


def test_a_delivery_that_cannot_be_written_is_remembered(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1), event(2), event(3)])
    first, second, third = outbox.claim(3)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    assert outbox._file._connection is not None
    outbox._file._connection.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):  # the reporter tries again what failed
        with pytest.raises(StoreError):
            outbox.delivered([first.id])
        with pytest.raises(StoreError):
            outbox.failed(second.id, 0.0, "refused", refused=True)
        with pytest.raises(StoreError):
            outbox.unclaim([third.id])
        with pytest.raises(StoreError):
            outbox.claim(5)
    other.execute("ROLLBACK")
    other.close()
    again = {found.id: found for found in outbox.claim(5)}
    assert set(again) == {second.id, third.id}
    assert (again[second.id].refusals, again[second.id].attempt, again[third.id].attempt) == (1, 2, 1)
    assert outbox.counters.delivered == 1
    outbox.close()


def test_with_too_little_free_space_no_alarm_is_taken_but_all_else_goes_on(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    outbox.add([event(1)])
    outbox.close()
    outbox = make(tmp_path, min_free_bytes=1 << 60)
    with pytest.raises(StoreError, match=r"MB are free on its disk.*make room"):
        outbox.add([event(2)])
    outbox.delivered([found.id for found in outbox.claim(1)])
    assert outbox.counters.delivered == 1
    outbox.close()


def test_a_locked_file_is_an_error_in_words_and_no_damage(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    assert outbox._file._connection is not None
    outbox._file._connection.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process"):
        outbox.add([event(1)])
    other.execute("ROLLBACK")
    other.close()
    assert outbox.add([event(1)]) == 1
    outbox.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    """Takes the disk's space to the last byte."""
    filler = disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), bytes(4096))
    return filler


def test_a_disk_that_is_full_to_the_last_byte_is_no_damage(small_disk: Path) -> None:
    outbox = make(small_disk)
    outbox.add([event(number, size=20_000) for number in range(10)])
    claimed = outbox.claim(10)
    filler = fill(small_disk)
    for number in range(10):
        with pytest.raises(StoreError, match=r"full.*make room"):
            outbox.add([event(number, size=400_000)])
    assert outbox.counters.events == 10
    filler.unlink()
    outbox.delivered([found.id for found in claimed])
    assert outbox.add([event(77)]) == 1
    assert numbers(outbox) == [77] and outbox.counters.delivered == 10
    assert not list(small_disk.glob("*.damaged-*"))
    outbox.close()


def test_an_outbox_is_opened_again_when_a_full_disk_has_space(small_disk: Path) -> None:
    outbox = make(small_disk)
    outbox.add([event(number, size=20_000) for number in range(10)])
    outbox.close()
    filler = fill(small_disk)
    with pytest.raises(StoreError) as caught:
        make(small_disk)
    assert caught.value.cure
    filler.unlink()
    outbox = make(small_disk)
    assert numbers(outbox) == list(range(10)) and not list(small_disk.glob("*.damaged-*"))
    outbox.close()


def test_a_disk_that_turned_read_only_is_no_damage(small_disk: Path) -> None:
    outbox = make(small_disk)
    outbox.add([event(1)])
    outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError) as caught:
        make(small_disk)
    assert caught.value.cure
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    outbox = make(small_disk)
    assert numbers(outbox) == [1] and not list(small_disk.glob("*.damaged-*"))
    outbox.close()


def test_on_a_disk_that_fills_up_marks_need_no_more_room(small_disk: Path) -> None:
    limits = Limits(min_free_bytes=200_000)
    outbox = Outbox(small_disk / "outbox.sqlite", limits=limits)
    outbox.add([NewEvent(algorithm=0, body=b"x" * 20_000) for _ in range(20)])
    wal = small_disk / "outbox.sqlite-wal"
    assert wal.stat().st_size > 400_000, "what was added stands in the -wal, and has no place in the file yet"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(free_bytes(small_disk) - 600_000))
    outbox.maintain()
    fill(small_disk)
    for _ in range(60):
        for found in outbox.claim(1):
            outbox.failed(found.id, 0.0, "nobody is there")
    for found in outbox.claim(20):
        outbox.delivered([found.id])
    assert (outbox.counters.delivered, outbox.counters.pending) == (20, 0)
    outbox.close()
