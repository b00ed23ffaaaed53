"""The outbox of a task as its settings want it, and what its status file knew of it."""

from __future__ import annotations

from pathlib import Path

from streamserver.core.errors import StoreError
from streamserver.core.settings import Settings
from streamserver.core.status import CLIENT_FILE, ClientStatus
from streamserver.outbox.box import Counters, Limits, Outbox
from streamserver.outbox.letters import dead_letters

OUTBOX_FILE = "outbox.sqlite"
"""Relative to the task's folder."""

_MB = 1_000_000
_NO_ALARMS = (".lock", "-shm")
_FULL_SHARE = 8
"""Alarms are taken until less than this part of the reserve is free; deliveries use the rest."""

_LONGEST_ERROR = 1000


def open_outbox(path: Path, settings: Settings, known: ClientStatus) -> Outbox:
    """The outbox in ``path``, made if it is not there.

    Args:
        path: the file; its folder must exist.
        settings: for the limits.
        known: what the process before counted; alarms that are missing count as lost.

    Raises:
        StoreError: the file cannot be opened.
    """
    limits = Limits(
        max_bytes=settings.outbox_max_mb * _MB,
        max_age_s=settings.retention_h * 3600,
        min_free_bytes=settings.disk_reserve_mb * _MB // _FULL_SHARE,
    )
    return Outbox(
        path,
        limits=limits,
        backup_interval_s=settings.backup_interval_s,
        known=Counters(
            events=known.events,
            delivered=known.delivered,
            dropped=known.dropped,
            expired=known.expired,
            lost=known.lost,
            per_algorithm=tuple(enumerate(known.per_algorithm)),
        ),
    )


def may_hold_alarms(folder: Path) -> bool:
    """True when there is an outbox in a task's folder, or what is left of one."""
    return any(not file.name.endswith(_NO_ALARMS) for file in folder.glob(f"{OUTBOX_FILE}*"))


def last_status(folder: Path, run: str, *, algorithms: int) -> ClientStatus:
    """What is known of the run's alarms before its outbox is open: the counts that the process before wrote last.

    Args:
        folder: the task's folder.
        run: the key of the accepted task version; other runs' counts say nothing.
        algorithms: how many the task has, where no process wrote yet.
    """
    last = ClientStatus.read(folder / CLIENT_FILE)
    if last is None or last.run != run:
        return ClientStatus(run=run, per_algorithm=[0] * algorithms)
    return last


def show_counters(status: ClientStatus, outbox: Outbox) -> None:
    """Copies what the outbox counted into ``status``, and why it holds dead letters."""
    counters = outbox.counters
    if counters.dead != status.dead:
        status.dead_reason = _why_dead(outbox.path)
    status.events, status.delivered, status.pending = counters.events, counters.delivered, counters.pending
    status.dropped, status.dead, status.lost = counters.dropped, counters.dead, counters.lost
    status.expired = counters.expired
    status.oldest_age_s = round(outbox.oldest_age_s, 1)
    counts = dict(counters.per_algorithm)
    length = max(len(status.per_algorithm), *(index + 1 for index in counts), 0)
    status.per_algorithm = [counts.get(index, 0) for index in range(length)]


def _why_dead(path: Path) -> str:
    try:
        return next((letter.error[:_LONGEST_ERROR] for letter in dead_letters(path, limit=1)), "")
    except StoreError:
        return ""


def show_errors(status: ClientStatus, *errors: str) -> None:
    """Copies why delivery fails into ``status``, at a length that keeps the file small."""
    status.last_error = "; ".join(error for error in errors if error)[:_LONGEST_ERROR]
