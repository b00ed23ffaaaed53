from __future__ import annotations

import fcntl
import math
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from streamserver.media import turnstile
from streamserver.media.turnstile import LONGEST_WAIT_S, Turnstile

_TAKE_TURNS = """
import sys, threading
from pathlib import Path
from streamserver.media.turnstile import Turnstile
for _ in range(int(sys.argv[2])):
    assert Turnstile(Path(sys.argv[1]), 200.0).wait(threading.Event())
"""


class FakeTime(threading.Event):
    """A clock and a stop event in one: nobody waits, and it notes for how long they would have."""

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__()
        self.now = now
        self.waited: list[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(round(timeout, 6))
        return self.is_set()


def test_those_who_come_together_pass_one_after_another(tmp_path: Path) -> None:
    time = FakeTime()
    for _ in range(4):
        assert Turnstile(tmp_path / "turns", 5.0, clock=time.clock).wait(time)
    assert time.waited == [0.0, 0.22, 0.44, 0.66]
    time.now += 10.0
    assert Turnstile(tmp_path / "turns", 5.0, clock=time.clock).wait(time)
    assert time.waited[-1] == 0.0


def test_processes_take_turns_at_one_file(tmp_path: Path) -> None:
    path = tmp_path / "turns"
    start = time.monotonic()
    command = [sys.executable, "-c", _TAKE_TURNS, str(path), "5"]
    processes = [subprocess.Popen(command, cwd=PROJECT_DIR) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    _, next_turn = struct.unpack("<8sd", path.read_bytes())
    assert next_turn >= start + 15 / 200.0
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"not a time at all, and too long",
        bytes(range(200, 216)),
        struct.pack("<8sd", b"nextturn", math.nan),
        struct.pack("<8sd", b"nextturn", math.inf),
        struct.pack("<8sd", b"nextturn", 1000.0 + 2 * LONGEST_WAIT_S),  # from before a reboot
        struct.pack("<8sd", b"nextturn", -5.0),
    ],
)
def test_a_file_that_says_nothing_sensible_is_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "turns"
    path.write_bytes(content)
    time = FakeTime()
    gate = Turnstile(path, 5.0, clock=time.clock)
    assert gate.wait(time)
    assert gate.wait(time)
    assert time.waited == [0.0, 0.22]
    assert path.stat().st_size == 16


def test_nobody_waits_longer_than_a_minute(tmp_path: Path) -> None:
    time = FakeTime()
    gate = Turnstile(tmp_path / "turns", 0.1, clock=time.clock)
    assert all(gate.wait(time) for _ in range(20))
    assert time.waited[:4] == [0.0, 11.0, 22.0, 33.0]
    assert max(time.waited) == LONGEST_WAIT_S


def test_without_a_file_that_can_be_used_nobody_waits_and_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    time = FakeTime()
    for path in (tmp_path, tmp_path / "absent" / "turns", tmp_path / "link"):
        if path.name == "link":
            path.symlink_to(tmp_path / "elsewhere")
        caplog.clear()
        gate = Turnstile(path, 5.0, clock=time.clock)
        assert gate.wait(time)
        assert gate.wait(time)
        assert caplog.text.count("streams connect without taking turns") == 1
    assert Turnstile(None, 5.0, clock=time.clock).wait(time)
    assert set(time.waited) == {0.0}


def test_a_lock_that_is_never_given_back_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "_LOCK_PATIENCE_S", 0.05)
    path = tmp_path / "turns"
    with path.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert Turnstile(path, 5.0).wait(threading.Event())


def test_who_is_to_stop_does_not_wait(tmp_path: Path) -> None:
    stopping = threading.Event()
    gate = Turnstile(tmp_path / "turns", 0.02)
    assert gate.wait(stopping)
    stopping.set()
    assert not gate.wait(stopping)
