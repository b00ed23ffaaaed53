"""The end of logs that are long, rotated, half written, spoiled or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streamserver.core import log_tail
from streamserver.core.log_tail import MAX_BYTES, last_entries


def line(number: int, message: str = "") -> bytes:
    parts = {"time": f"2026-11-20T10:41:{number % 60:02d}.000Z", "level": "INFO", "role": "engine", "pid": 7}
    return json.dumps({**parts, "task": "t", "logger": "x", "message": message or str(number)}).encode() + b"\n"


def messages(path: Path, count: int) -> list[str]:
    return [entry["message"] for entry in last_entries(path, count)]


@pytest.mark.parametrize("block", [1, 7, 100, 65_536])
@pytest.mark.parametrize("count", [1, 2, 9, 10, 11])
def test_the_last_lines_come_whole_whatever_a_block_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, count: int
) -> None:
    monkeypatch.setattr(log_tail, "_BLOCK", block)
    path = tmp_path / "engine.log"
    path.write_bytes(b"".join(line(n) for n in range(10)))
    assert messages(path, count) == [str(n) for n in range(10)][-count:]


def test_what_one_file_lacks_comes_from_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(line(5) + line(6))
    (tmp_path / "engine.log.1").write_bytes(line(3) + line(4))
    (tmp_path / "engine.log.2").write_bytes(line(1) + line(2))
    assert messages(path, 3) == ["4", "5", "6"]
    assert messages(path, 100) == ["1", "2", "3", "4", "5", "6"]
    path.unlink()  # between two names
    assert messages(path, 3) == ["2", "3", "4"]
    os.link(tmp_path / "engine.log.1", path)  # seen under its old name and its new one
    assert messages(path, 100) == ["1", "2", "3", "4"]


def test_no_more_is_read_than_the_limit_however_long_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"".join(line(n, 300_000 * "x") for n in range(10)))
    assert len(last_entries(path, 10)) == MAX_BYTES // 300_000
    path.write_bytes(line(0, 2 * MAX_BYTES * "x"))
    assert last_entries(path, 10) == []


def test_what_is_no_line_of_ours_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(line(1) + b"\xff half a li\n\n[1]\n" + 20_000 * b"[" + b"\n" + line(2)[:-1])
    found = last_entries(path, 10)
    assert [entry["message"][:10] for entry in found] == ["1", "\ufffd half a l", "[1]", 10 * "[", "2"]
    assert found[1]["time"] == found[0]["time"]
    assert [entry["pid"] for entry in found] == ["7", "", "", "", "7"]


def test_what_is_no_file_is_no_log(tmp_path: Path) -> None:
    assert last_entries(tmp_path / "nothing" / "engine.log", 10) == []
    os.mkfifo(tmp_path / "engine.log")
    (tmp_path / "engine.log.1").symlink_to("/etc/passwd")
    assert last_entries(tmp_path / "engine.log", 10) == []
