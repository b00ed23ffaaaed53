"""The clocks of an outbox: none of them moves with the wall clock."""

from __future__ import annotations

import math
import secrets
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

from streamserver.outbox import rows
from streamserver.outbox.schema import CLAIMED

_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_SERVICE = "service"
_BOOT = "boot"
_LONGEST_WAIT_S = 86_400.0
"""No next try is further away; one that is was spoiled."""


def boot_id() -> str:
    """Tells this boot of the machine from all others; where the kernel does not say, each process is a boot."""
    try:
        return _BOOT_FILE.read_text().strip()
    except OSError:
        return secrets.token_hex(16)


class ServiceClock:
    """Seconds for which some process had the file open: what an alarm's age is measured on.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.written_at = -math.inf
        self._clock = clock
        self._base, self._since = 0.0, clock()

    def __call__(self) -> float:
        """Now."""
        return self._base + max(0.0, self._clock() - self._since)

    def adopt(self, connection: sqlite3.Connection) -> None:
        """Goes on where the file's last process stopped."""
        found = read_service(connection)
        if found is None:
            found = float(connection.execute("SELECT coalesce(max(born), 0) FROM events").fetchone()[0])
        self._base, self._since = max(self(), found), self._clock()

    def write(self, connection: sqlite3.Connection) -> None:
        """Notes in the file how late it is."""
        write_service(connection, self())

    def committed(self) -> None:
        """What was written is on the disk."""
        self.written_at = self._clock()


def read_service(connection: sqlite3.Connection) -> float | None:
    """What ``write_service`` wrote; ``None`` when that is missing or spoiled, which would make everything too old."""
    text = str(rows.fact(connection, _SERVICE))
    number, _, mark = text.partition(" ")
    if mark != str(zlib.crc32(number.encode())):
        return None
    return float(number)


def write_service(connection: sqlite3.Connection, seconds: float) -> None:
    """Notes the file's clock with a checksum."""
    number = repr(float(seconds))
    rows.set_fact(connection, _SERVICE, f"{number} {zlib.crc32(number.encode())}")


def adopt_tries(connection: sqlite3.Connection, boot: str, now: float) -> None:
    """Makes due what waits for a moment of another boot, or for one that never comes, and frees all claims.

    Args:
        connection: inside a transaction, of a file that was just opened.
        boot: which boot of the machine this is.
        now: the monotonic clock, in seconds.
    """
    if rows.fact(connection, _BOOT) != boot:
        connection.execute("UPDATE events SET next_try = 0 WHERE state = 0 AND next_try <> 0")
        rows.set_fact(connection, _BOOT, boot)
    claimed = "SELECT n FROM events INDEXED BY pending WHERE state = 0 AND next_try = ?"
    connection.execute(f"UPDATE events SET next_try = 0 WHERE n IN ({claimed})", (CLAIMED,))  # noqa: S608 - names of ours, values are bound  # nosec B608
    late = "SELECT n FROM events INDEXED BY pending WHERE state = 0 AND next_try > ?"
    connection.execute(f"UPDATE events SET next_try = 0 WHERE n IN ({late})", (now + _LONGEST_WAIT_S,))  # noqa: S608 - names of ours, values are bound  # nosec B608
