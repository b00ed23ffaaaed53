"""Stands in for the courier: delivers when a task's folder holds ``deliver``, and says so as the real one does.

The file ``courier.behaviour`` in the state folder, its working directory, holds ``work``, ``exit:CODE``, ``hang`` or
``swell:MEGABYTES``, one line a start; the last one stays. A task's file ``dead`` holds their number.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from pathlib import Path

from streamserver.core.leftovers import DRAINED_FILE, STATUS_FILE, Drained, mark_drained, read_list
from streamserver.core.processes import die_with_starter
from streamserver.core.status import CourierStatus
from tests.supervise.actor import BEAT_S


def look_after(folder: Path) -> int:
    """Alarms that still wait."""
    if not folder.is_dir() or (folder / DRAINED_FILE).exists():
        return 0
    if not (folder / "deliver").exists():
        return 1
    dead = folder / "dead"
    mark_drained(folder, Drained(int(dead.read_text()) if dead.exists() else 0))
    return 0


def behaviour() -> str:
    """For this start, which is written down."""
    starts = Path("courier.starts")
    count = len(starts.read_text().splitlines()) if starts.exists() else 0
    with starts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    said = Path("courier.behaviour").read_text().splitlines() if Path("courier.behaviour").exists() else ["work"]
    return said[min(count, len(said) - 1)]


def main() -> int:
    faulthandler.enable()
    die_with_starter()
    name, _, rest = behaviour().partition(":")
    status = CourierStatus(pid=os.getpid(), ready=True)
    held = b"x" * (1_000_000 * int(rest)) if name == "swell" else b""
    while keys := read_list(Path()):
        status.boxes, status.pending = len(keys), sum(look_after(Path("tasks") / key) for key in keys)
        status.write(Path(STATUS_FILE))
        if name == "exit":
            return int(rest)
        if name == "hang":
            time.sleep(1e9)
        time.sleep(BEAT_S)
    return 1 if len(held) == 1 else 0


if __name__ == "__main__":
    sys.exit(main())
