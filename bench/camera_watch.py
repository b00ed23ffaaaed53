"""A task on a camera as ``/task/query`` shows it, and the table of what was seen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.harness import Server, task
from tests.servers.clips import Clip

BACK_S = 5.0
"""A stream that is back must be seen so soon."""

SEEN_S = 3.0
"""From what happens to what ``/task/query`` says of it: the heartbeat's half second, and a busy machine."""

_LIMIT_S = 150.0

Status = dict[str, Any]
Test = Callable[[Status], bool]


@dataclass(slots=True)
class Row:
    """One line of the table.

    Attributes:
        fault: what was done.
        expected: in words.
        bound_s: how long it may take until it is seen; 0 where that is not asked.
        state: what was seen.
        reason: the reason that was seen.
        after_s: how long it took until it was seen.
        back_s: from the cure to ``streaming``; ``None`` where there is no cure.
        problems: what did not go as it must.
    """

    fault: str
    expected: str
    bound_s: float
    state: str = ""
    reason: str = ""
    after_s: float | None = None
    back_s: float | None = None
    problems: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """As a line of the table."""
        verdict = "; ".join(self.problems) or "passes"
        bound = f"{self.bound_s:g}" if self.bound_s else ""
        cells = (self.fault, self.state, self.reason, _seconds(self.after_s), bound)
        return f"| {' | '.join(cells)} | {_seconds(self.back_s)} | {verdict} |"


class Watch:
    """One task on one camera, and what is said of it; use it with ``with``."""

    def __init__(self, one: Server, receiver_url: str, task_id: str, address: str) -> None:
        self._one = one
        self.task_id = task_id
        body = task(task_id, address, receiver_url, line=(64, 0, 64, 95), extend={"Detector": "motion"})
        answer = one.create(body)
        assert answer["Code"] == 0, answer
        one.wait_state(task_id, "RUNNING")
        self.since = time.monotonic()

    @property
    def status(self) -> Status:
        """What is said now."""
        return self._one.query(self.task_id)

    def streams(self) -> None:
        """Waits until pictures come, a second of them."""
        self.waits_for(lambda status: status["Source"] == "streaming" and status["Fps"] > 0)
        time.sleep(1.0)

    def sees(self, row: Row, test: Test, since: float | None = None) -> None:
        """Waits until ``test`` holds and notes how that looked, and when."""
        status = self.waits_for(test)
        row.after_s = time.monotonic() - (self.since if since is None else since)
        row.state, row.reason = _chain(row.state, status["Source"]), _chain(row.reason, status["Reason"])
        if row.after_s > row.bound_s:
            row.problems.append(f"seen after {row.after_s:.1f} s")

    def is_back(self, row: Row, since: float, *, bound_s: float = BACK_S) -> None:
        """Waits until pictures come that are newer than ``since``, and notes how long that took."""
        self.waits_for(lambda status: _is_newer(status, since))
        row.back_s = time.monotonic() - since
        if row.back_s > bound_s:
            row.problems.append(f"back after {row.back_s:.1f} s instead of {bound_s:g}")

    def goes_on(self, row: Row, before: Status, *, reconnects: int = 0) -> None:
        """The process was not begun anew since ``before``, and the connection at most ``reconnects`` times."""
        now = self.status
        for key, most in (("Restarts", 0), ("Reconnects", reconnects)):
            if now[key] > before[key] + most:
                row.problems.append(f"{key} {before[key]} became {now[key]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The task is not wanted any more."""
        self._one.post("/task/delete", {"TaskID": self.task_id})

    def waits_for(self, test: Test) -> Status:
        """Waits until ``test`` holds; what was said then."""
        deadline = time.monotonic() + _LIMIT_S
        while True:
            status = self.status
            if test(status):
                return status
            if time.monotonic() > deadline:
                raise AssertionError(f"never seen; at last {status['Source']}: {status['Reason']}")
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rows share.

    Attributes:
        one: a server with default settings.
        quick: a server whose ``frozen_after_s`` is 5.
        crowd: a server for many cameras.
        receiver_url: where alarms go.
        clip: what the cameras show.
        folder: for files.
    """

    one: Server
    quick: Server
    crowd: Server
    receiver_url: str
    clip: Clip
    folder: Path

    def watch(self, task_id: str, address: str, one: Server | None = None) -> Watch:
        """A new task."""
        return Watch(one or self.one, self.receiver_url, task_id, address)


def reconnecting(words: str) -> Test:
    """The source is tried again, for a reason that holds ``words`` (a regular expression)."""
    return lambda status: bool(status["Source"] == "reconnecting" and re.search(words, status["Reason"]))


def _is_newer(status: Status, since: float) -> bool:
    """True if pictures come and the last one came after ``since``, by the monotonic clock."""
    age_s = status["FrameAge"]
    return bool(status["Source"] == "streaming" and age_s is not None and time.monotonic() - age_s > since)


def _chain(before: str, now: str) -> str:
    return f"{before}, then {now}" if before and now != before else now


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
