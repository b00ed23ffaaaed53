"""What a process does for its own memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import pytest

from streamserver.core import processes
from streamserver.core.settings import PROJECT_DIR


class Ring:
    """Refers to itself, so that only the collector can find it."""

    def __init__(self) -> None:
        self.myself = self


def test_rings_of_garbage_are_swept_when_it_is_time_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    gc.disable()
    try:
        sweeper = processes.Sweeper()
        ring = weakref.ref(Ring())
        sweeper.tend()
        assert ring() is not None
        now[0] += 61.0
        sweeper.tend()
        assert ring() is None
    finally:
        gc.unfreeze()
        gc.enable()


_DECODES_A_BOMB = """
import struct, zlib
from streamserver.core.processes import harden
harden()
from streamserver.vision.codec import decode_jpeg
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_001, 10_000, 8, 2, 0, 0, 0))
try:
    decode_jpeg(bytes.fromhex("89504e470d0a1a0a") + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
except ValueError as e:
    print(e)
"""


def test_opencv_decodes_no_picture_that_fills_the_memory() -> None:
    """Of a hundred bytes of PNG it makes three gigabytes by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    command = [sys.executable, "-c", _DECODES_A_BOMB]
    ran = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=120)
    assert "CV_IO_MAX_IMAGE_PIXELS" in ran.stdout, ran.stdout + ran.stderr
