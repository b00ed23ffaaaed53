"""Alarms, clocks and outboxes for the tests of the outbox."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from streamserver.outbox.box import Limits, NewEvent, Outbox, PendingEvent

FILE = "outbox.sqlite"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def event(number: int = 0, *, key: str | None = None, algorithm: int = 0, size: int = 0) -> NewEvent:
    """An alarm with ``number`` in its body, filled up to ``size`` bytes."""
    return NewEvent(algorithm=algorithm, body=f'[{{"FrameIndex":{number}}}]'.encode().ljust(size), key=key)


def number_of(pending: PendingEvent) -> int:
    """The number of ``event``."""
    number: int = json.loads(pending.body)[0]["FrameIndex"]
    return number


def make(folder: Path, clock: Clock | None = None, *, boot: str = "this boot", **more: Any) -> Outbox:
    """The outbox of ``folder``; limits are given by name, e.g. ``max_bytes``."""
    limits = {name: more.pop(name) for name in tuple(more) if name in Limits.__dataclass_fields__}
    return Outbox(folder / FILE, limits=Limits(**limits), clock=clock or Clock(), boot=boot, **more)


def take_all(outbox: Outbox, *, early: bool = False) -> list[PendingEvent]:
    """Claims all that is due."""
    taken: list[PendingEvent] = []
    while found := outbox.claim(100, early=early):
        taken += found
    return taken


def numbers(outbox: Outbox) -> list[int]:
    """Numbers of what is due, in the order of their ids; it is given back."""
    taken = take_all(outbox)
    outbox.unclaim([pending.id for pending in taken])
    return [number_of(pending) for pending in sorted(taken, key=lambda pending: pending.id)]


def spoil(path: Path, statement: str, *values: Any) -> None:
    """Changes the file behind the outbox's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount == 1


def copy(folder: Path, name: str = "copy") -> Path:
    """A copy of the folder's outbox in another folder, as a kill would leave it."""
    to = folder / name
    to.mkdir()
    for suffix in ("", "-wal", ".backup"):
        if (file := folder / f"{FILE}{suffix}").exists():
            shutil.copy(file, to)
    return to
