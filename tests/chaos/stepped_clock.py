"""A wall clock that the harness can step for running processes: libfaketime, told by a file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "shim" / "sleep.c"
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


def _library() -> Path | None:
    found = [path for place in _PLACES for path in Path("/").glob(place.removeprefix("/"))]
    return found[0] if found else None


def missing_tools() -> str:
    """Why clocks cannot be stepped here; empty when they can."""
    if _library() is None:
        return "libfaketime is not installed"
    return "" if shutil.which("gcc") else "gcc is not installed"


class SteppedClock:
    """The wall clock of the processes that run with ``environment``; the monotonic clock is left alone.

    Args:
        folder: for the file that tells the time and for the shim that libfaketime needs.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "clock"
        self._shim = folder / "sleep.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(self._shim), str(SOURCE), "-ldl"], check=True)
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to see this clock; its children inherit it."""
        return {
            "LD_PRELOAD": f"{self._shim}:{_library()}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead_s: int) -> None:
        """From now on the clock is so many seconds ahead of the true one."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{ahead_s:+d}\n")
        fresh.replace(self._file)
