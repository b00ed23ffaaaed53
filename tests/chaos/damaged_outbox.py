"""Cases of the row ``damage``: outboxes with known content."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from streamserver.durable import back_up, noted
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.outbox.letters import dead_letters
from streamserver.outbox.schema import SCHEMA
from tests.chaos import spoil
from tests.chaos.damaged import Found, copy_files, in_child, problem_of

_EVENTS = 60
_LIMITS = Limits(max_bytes=10_000_000, max_age_s=1e9)

Known = dict[str, Any]


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _body(number: int) -> bytes:
    return json.dumps([{"TaskID": "车道", "n": number, "Result": "x" * (50 + 37 * (number % 40) ** 2)}]).encode()


class Prototype:
    """A task's folder made by the real outbox: alarms that wait, were delivered and died; a backup midway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settled: set[str] = set()
        self.waiting: dict[str, str] = {}
        self._in_backup: set[str] = set()
        scratch = folder.with_name(f"{folder.name}.live")
        scratch.mkdir()
        box = Outbox(scratch / "outbox.sqlite", limits=_LIMITS)
        try:
            self._fill(box)
            copy_files(scratch, folder)
        finally:
            box.close()

    def _fill(self, box: Outbox) -> None:
        for number in range(_EVENTS):
            key = f"t:{number}" if number % 2 else None
            box.add([NewEvent(algorithm=number % 2, body=_body(number), key=key)])
            if number % 4 == 1:
                (event,) = box.claim(1)
                self.waiting.pop(event.id, None)
                if number % 8 == 1:
                    box.delivered([event.id])
                else:
                    box.bury(event.id, "http://192.0.2.1 refused it")
                self.settled.add(event.id)
            if number == _EVENTS // 2:
                back_up(box.path, check=SCHEMA)
                self._in_backup = set(_waiting(box.path))
        self.waiting = _waiting(box.path)

    def judge(self, folder: Path, rng: random.Random) -> Found:
        """Damages a copy, has it opened and used twice, and compares."""
        how, backup = rng.choice(spoil.SPOILS), rng.random() < 0.6
        found = Found(f"outbox, {how.__name__}, {'with' if backup else 'without'} a backup", bare=not backup)
        copy_files(self.folder, folder)
        path = folder / "outbox.sqlite"
        if not backup:
            path.with_name("outbox.sqlite.backup").unlink()
        how(path, rng)
        readable = set(_waiting_of_copy(path)) & set(self.waiting)
        first = in_child(lambda: _use(path))
        second = in_child(lambda: _look(path))
        for name, answer in (("first", first), ("second", second)):
            if problem := problem_of(answer):
                found.complaints.append(f"{name} opening: {problem}")
            elif "raised" in answer:
                found.complaints.append(f"{name} opening was refused: {answer['raised'][:200]}")
        if not found.complaints:
            kept = readable | (self._in_backup & set(self.waiting) if backup else set())
            self._compare(found, first, second, kept)
        if not found.complaints:
            shutil.rmtree(folder)
        return found

    def _compare(self, found: Found, first: Known, second: Known, kept: set[str]) -> None:
        got: Known = first["waiting"]
        missing = set(self.waiting) - set(got)
        counters = first["counters"]
        found.salvaged, found.restored, found.lost = first["salvaged"], first["restored"], len(missing)
        found.outcome = "mended" if first["reports"] or counters["lost"] else "harmless"
        found.wrong = sum(got[key] != self.waiting[key] for key in set(got) & set(self.waiting))
        found.wrong += len(set(got) - set(self.waiting) - self.settled)
        if found.wrong:
            found.complaints.append(f"{found.wrong} alarms are not what was raised")
        if missing & kept:
            found.complaints.append(f"{len(missing & kept)} alarms are missing that could be had")
        if len(missing) > counters["lost"]:
            found.unnoticed = len(missing) - counters["lost"]
            found.lost -= found.unnoticed
            found.complaints.append(f"{len(missing)} alarms are missing, {counters['lost']} were counted")
        if second["reports"] != first["reports"]:
            found.complaints.append("the second opening mends again")
        if second["waiting"] != first["after"]:
            found.complaints.append("the second opening finds other alarms than the first left")


def _waiting(path: Path) -> dict[str, str]:
    """Id -> digest of the body of the alarms that wait, by plain SQLite."""
    query = "SELECT id, body FROM events JOIN bodies USING (n) WHERE state = 0"
    with closing(sqlite3.connect(path)) as connection:
        return {event_id: _digest(body) for event_id, body in connection.execute(query)}


def _waiting_of_copy(path: Path) -> dict[str, str]:
    """As ``_waiting``, for as many as a forward reading of a damaged file gives."""
    right: dict[str, str] = {}
    expected = {_digest(_body(number)) for number in range(_EVENTS)}
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as connection:
            query = "SELECT n, id, event_key, algorithm, created, born, size, body_sum, state, seal FROM events"
            rows = connection.execute(f"{query} NOT INDEXED")
            for row in rows:
                with suppress(sqlite3.Error, TypeError):
                    body = connection.execute("SELECT body FROM bodies WHERE n = ?", (row[0],)).fetchone()
                    if body and _digest(body[0]) in expected and _is_sealed(row):
                        right[row[1]] = _digest(body[0])
    return right


def _is_sealed(row: tuple[Any, ...]) -> bool:
    from streamserver.outbox.schema import seal

    return bool(seal(row[:-1]) == row[-1])


def _claim_all(box: Outbox) -> dict[str, str]:
    events = []
    while more := box.claim(50, early=True):
        events += more
    box.unclaim([event.id for event in events])
    return {event.id: _digest(event.body) for event in events}


def _open(path: Path) -> Outbox:
    return Outbox(path, limits=_LIMITS, known_events=_EVENTS)


def _look(path: Path) -> Known:
    box = _open(path)
    try:
        return {"waiting": _claim_all(box), "reports": len(noted(path.parent))}
    finally:
        box.close()


def _use(path: Path) -> Known:
    """Opens an outbox and uses it as client and courier do."""
    box = _open(path)
    try:
        waiting = _claim_all(box)
        assert box.add([NewEvent(algorithm=0, body=b"[{}]", key="new")]) == 1
        dead_letters(path, limit=100)
        if waiting:
            (event,) = box.claim(1, early=True)
            box.delivered([event.id])
        box.maintain()
        after = _claim_all(box)
        counters = box.counters
        reports = noted(path.parent)
        return {
            "waiting": waiting,
            "after": after,
            "reports": len(reports),
            "salvaged": sum(report.salvaged for report in reports),
            "restored": sum(report.restored for report in reports),
            "counters": {"lost": counters.lost, "events": counters.events},
        }
    finally:
        box.close()
