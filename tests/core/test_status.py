"""Status files on a full disk: written over in place, read whole."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from streamserver.core import files
from streamserver.core.files import rewrite_json
from streamserver.core.status import ClientStatus


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No new file gets any room, as on a disk that is full."""

    def refuse(path: Path, data: bytes, *, sync: bool = False) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_atomically", refuse)


def test_a_status_goes_on_beating_on_a_full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = tmp_path / "client.json"
    status = ClientStatus(run="abcd", events=12345, last_error="long ago " * 20)
    status.write(file)
    before = file.stat()
    request.getfixturevalue("full_disk")
    status.last_error, status.events = "", 12346
    status.write(file)
    again = ClientStatus.read(file)
    assert again is not None and (again.events, again.last_error, again.beat) == (12346, "", status.beat)
    after = file.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("full_disk")
def test_without_a_file_or_room_in_it_the_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text("{}")
    for name in ("new.json", "small.json"):
        with pytest.raises(OSError, match="No space left"):
            rewrite_json(tmp_path / name, {"text": "x" * 10_000})
    assert (tmp_path / "small.json").read_text() == "{}"


def test_other_errors_are_not_answered_by_writing_over(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "client.json"
    with pytest.raises(FileNotFoundError):
        rewrite_json(file, {})


@pytest.mark.usefixtures("full_disk")
def test_a_reader_never_takes_a_half_written_status_for_none(tmp_path: Path) -> None:
    file = tmp_path / "client.json"
    file.write_text(json.dumps({"run": "abcd"}).ljust(2000))
    stop = threading.Event()

    def write() -> None:
        status = ClientStatus(run="abcd")
        while not stop.is_set():
            status.events += 1
            status.last_error = "x" * (status.events % 300)
            status.write(file)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        read = [ClientStatus.read(file) for _ in range(2000)]
    finally:
        stop.set()
        writer.join()
    assert all(status is not None and status.run == "abcd" for status in read)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"], ids=["empty", "half", "list", "null"])
def test_what_stays_unreadable_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "client.json"
    file.write_text(content)
    assert ClientStatus.read(file) is None
    assert ClientStatus.read(tmp_path / "absent.json") is None
