"""Sums of what tasks count, for ``/metrics``: they outlive processes, runs and deleted tasks.

The supervisor tells of each status file that it reads. What a process counts since its own start is added by what it
has grown; what a run counts (``core/status.py``: since the task was accepted) likewise, and how far that was taken in
stands in the file beside the sums, so that nothing is counted twice whoever is killed when. What nobody read before a
process was killed is lost: about a second. A file that cannot be read is begun anew, a disk that takes nothing is
waited for.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streamserver.core import exitcodes
from streamserver.core.counters import ATTEMPT_OUTCOMES, RECONNECT_REASONS, TALLY_FILE
from streamserver.core.files import read_json, write_atomically
from streamserver.core.status import ClientStatus, CourierStatus, EngineStatus
from streamserver.store import TaskRecord
from streamserver.supervise.policy import Event, Exited, Late, Refused, Silent, Swollen

SAVE_S = 2.0
"""The file is written at most so often; a large one less often, for ``_BYTES_PER_S``."""

_BYTES_PER_S = 250_000.0
_MOST_SERIES = 200
"""So many pairs of model and device are told apart."""

_COURIER = "courier"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Task:
    """The sums of one TaskID, over all its runs; ``frame_at`` is when it had its last picture, in epoch seconds."""

    frames: Counter[str] = field(default_factory=Counter)
    reconnects: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    frame_at: float = 0.0


@dataclass(slots=True)
class _Run:
    """One accepted version of a task: how far its own counts were taken in, and what waits in its outbox."""

    task: str
    taken: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    oldest_age_s: float = 0.0


@dataclass(slots=True)
class _Sums:
    """The sums of no single task."""

    restarts: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    inference: dict[str, list[float]] = field(default_factory=dict)


class Tally:
    """See the module; used by the supervisor's loop alone.

    Args:
        state: the state folder.
        wall: seconds since the epoch.
    """

    def __init__(self, state: Path, *, wall: Callable[[], float] = time.time) -> None:
        self._path = state / TALLY_FILE
        self._wall = wall
        self._tasks: dict[str, _Task] = {}
        self._runs: dict[str, _Run] = {}
        self._sums = _Sums()
        self._processes: dict[str, tuple[int, Any]] = {}
        self._courier = CourierStatus()
        self._texts: dict[str, str] = {}
        self._save_at = 0.0
        self._failed = False
        self._written = b""
        for left in self._path.parent.glob(f".{self._path.name}.*"):  # by one that was killed while it wrote
            left.unlink(missing_ok=True)
        self._load(read_json(self._path))

    def adopt(self, record: TaskRecord) -> None:
        """A run that the supervisor looks after from now on."""
        if record.key not in self._runs:
            self._runs[record.key] = _Run(record.task_id)
            task = self._tasks.setdefault(record.task_id, _Task())
            task.frame_at = self._wall()
            self._texts.pop(record.task_id, None)

    def begin(self, keys: Collection[str]) -> None:
        """The supervisor begins, and these are the keys of all rows: runs whose rows are gone are forgotten."""
        self.restarted("supervisor", "started")
        for key in self._runs.keys() - set(keys):
            self.forget(key)

    def forget(self, key: str) -> None:
        """A run whose row is gone; with the last one of its TaskID go the sums of that."""
        run = self._runs.pop(key, None)
        for role in ("engine", "client"):
            self._processes.pop(f"{role} {key}", None)
        if run is not None and all(other.task != run.task for other in self._runs.values()):
            self._tasks.pop(run.task, None)
            self._texts.pop(run.task, None)

    def heard(self, record: TaskRecord, status: EngineStatus | ClientStatus, now: float) -> None:
        """Takes in what a process of this run says of itself.

        Args:
            record: the run's row.
            status: what it wrote; the parts that make no sense are left out.
            now: the monotonic clock, as in ``status.beat``.
        """
        run = self._runs.get(record.key)
        if run is None:
            return
        task = self._tasks.setdefault(run.task, _Task())
        self._texts.pop(run.task, None)
        try:
            if isinstance(status, EngineStatus):
                self._take_engine(record.key, run, task, status, now)
            else:
                self._take_client(record, run, task, status)
        except (TypeError, ValueError, AttributeError, IndexError) as e:
            _log.debug("task %r: a status that makes no sense was left out: %r", record.task_id, e)

    def received(self, record: TaskRecord, status: ClientStatus) -> None:
        """Takes the frames of an engine that writes no status from what its client got."""
        run = self._runs.get(record.key)
        if run is not None:
            grown = self._grown(f"engine {record.key}", status.pid, {"processed": status.received})
            task = self._tasks.setdefault(run.task, _Task())
            task.frames["processed"] += grown.get("processed", 0)
            if grown:
                task.frame_at = self._wall()

    def closed(self, record: TaskRecord, status: ClientStatus | None) -> None:
        """What waits in this run's outbox is the courier's, or nothing waits; ``status`` is the last that tells of it.

        Only what the run counts is taken from it: the process that wrote it may have ended before this supervisor
        began, and its deliveries were told then.
        """
        if status is not None:
            self.heard(record, replace(status, attempts={}, delays=[]), 0.0)
        run = self._runs.get(record.key)
        if run is not None:
            run.pending, run.oldest_age_s = 0, 0.0

    def heard_courier(self, status: CourierStatus) -> None:
        """Takes in what the courier says of itself."""
        try:
            self._take_deliveries(_COURIER, status)
            self._courier = status
        except (TypeError, ValueError, AttributeError, IndexError) as e:
            _log.debug("a status of the courier that makes no sense was left out: %r", e)

    def restarted(self, role: str, reason: str) -> None:
        """Counts a start anew; see ``core.counters`` for the words."""
        self._sums.restarts[f"{role} {reason}"] += 1

    def follow(self, event: Event) -> None:
        """Counts the start anew that follows what happened to a process."""
        if not isinstance(event, Refused):
            self.restarted(event.role, word_for(event))

    def save(self, now: float, *, at_once: bool = False) -> None:
        """Writes the file when that is due at ``now`` (monotonic seconds)."""
        if now < self._save_at and not at_once:
            return
        data = self._text().encode()
        self._save_at = now + max(SAVE_S, len(data) / _BYTES_PER_S)
        if data == self._written:
            return
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._path, data, private=True)
            self._written, self._failed = data, False
        except OSError as e:
            if not self._failed:
                _log.error("%s: cannot be written, /metrics shows old sums: %s", self._path, e.strerror or e)
            self._failed = True

    def _take_engine(self, key: str, run: _Run, task: _Task, status: EngineStatus, now: float) -> None:
        task.frames["processed"] += _step(run, "frames", status.frames)
        counts = {"dropped": status.dropped, "broken": status.broken}
        counts |= {word: status.reconnect_reasons.get(word, 0) for word in RECONNECT_REASONS}
        times = {f"{model}\t{device}": told for model, device, told in status.inference}
        before = self._processes.get(f"engine {key}")
        grown = self._grown(f"engine {key}", status.pid, counts, times)
        for word, number in grown.items():
            (task.reconnects if word in RECONNECT_REASONS else task.frames)[word] += number
        old = before[1][1] if before is not None and before[0] == status.pid else {}
        for name, told in times.items():
            if told != old.get(name):
                known = name in self._sums.inference or len(self._sums.inference) < _MOST_SERIES
                place = name if known else "other\tother"
                self._sums.inference[place] = _added(self._sums.inference.get(place, []), told, old.get(name, []))
        if status.frame_age_s >= 0:
            task.frame_at = self._wall() - status.frame_age_s - max(0.0, now - status.beat)

    def _take_client(self, record: TaskRecord, run: _Run, task: _Task, status: ClientStatus) -> None:
        algorithms: Sequence[Any] = record.request.get("Algorithm", ())
        for index, count in enumerate(status.per_algorithm[: len(algorithms)]):
            task.alarms[str(algorithms[index]["Type"])] += _step(run, f"alarms {index}", count)
        self._sums.dropped["expired"] += _step(run, "expired", status.expired)
        self._sums.dropped["full"] += _step(run, "full", status.dropped - status.expired)
        self._sums.dropped["damaged"] += _step(run, "lost", status.lost)
        self._sums.dropped["refused"] += _step(run, "dead", status.dead)
        run.pending, run.oldest_age_s = int(status.pending), float(status.oldest_age_s)
        self._take_deliveries(f"client {record.key}", status)

    def _take_deliveries(self, name: str, status: ClientStatus | CourierStatus) -> None:
        before = self._processes.get(name)
        old = before[1][1] if before is not None and before[0] == status.pid else {}
        counts = {word: status.attempts.get(word, 0) for word in ATTEMPT_OUTCOMES}
        for word, number in self._grown(name, status.pid, counts, {"delays": status.delays}).items():
            self._sums.attempts[word] += number
        if status.delays and status.delays != old.get("delays"):
            self._sums.delays = _added(self._sums.delays, status.delays, old.get("delays", []))

    def _grown(
        self, name: str, pid: int, counts: Mapping[str, int], others: Mapping[str, list[float]] | None = None
    ) -> dict[str, int]:
        """By how much those counts of a process that have grown since it was heard last did; a new one's from 0."""
        before = self._processes.get(name)
        old = before[1][0] if before is not None and before[0] == pid else {}
        self._processes[name] = (pid, (counts, others or {}))
        return {word: _growth(count, old.get(word, 0)) for word, count in counts.items() if count != old.get(word, 0)}

    def _text(self) -> str:
        """The file's content; what has not changed is not written out anew."""
        for name, task in self._tasks.items():
            if name not in self._texts:
                self._texts[name] = json.dumps([task.frames, task.reconnects, task.alarms, round(task.frame_at, 2)])
        tasks = ", ".join(f"{json.dumps(name)}: {self._texts[name]}" for name in self._tasks)
        runs = {key: [run.task, run.taken, run.pending, run.oldest_age_s] for key, run in self._runs.items()}
        sums = self._sums
        oldest_s = max([self._courier.oldest_age_s, *(run.oldest_age_s for run in self._runs.values())])
        rest = {
            "restarts": sums.restarts,
            "attempts": sums.attempts,
            "dropped": sums.dropped,
            "delays": sums.delays,
            "inference": sums.inference,
            "pending": self._courier.pending + sum(run.pending for run in self._runs.values()),
            "oldest_age_s": oldest_s,
            "runs": runs,
        }
        return f'{json.dumps(rest)[:-1]}, "tasks": {{{tasks}}}}}'

    def _load(self, content: Any) -> None:
        try:
            self._load_all(content)
        except (TypeError, ValueError, KeyError, AttributeError) as e:
            self._tasks, self._runs, self._sums = {}, {}, _Sums()
            if self._path.exists():
                _log.warning("%s: cannot be read, the sums of /metrics begin anew: %r", self._path, e)

    def _load_all(self, content: Any) -> None:
        for name, (frames, reconnects, alarms, frame_at) in content["tasks"].items():
            self._tasks[name] = _Task(_counter(frames), _counter(reconnects), _counter(alarms), float(frame_at))
        for key, (task, taken, pending, oldest_age_s) in content["runs"].items():
            self._runs[key] = _Run(str(task), _counter(taken), int(pending), float(oldest_age_s))
        self._sums = _Sums(
            _counter(content["restarts"]),
            _counter(content["attempts"]),
            _counter(content["dropped"]),
            [float(value) for value in content["delays"]],
            {str(name): [float(value) for value in told] for name, told in content["inference"].items()},
        )


def word_for(event: Event) -> str:
    """Why a process is started anew, as one of ``core.counters.RESTART_REASONS``."""
    match event:
        case Silent():
            return "silent"
        case Late():
            return "late"
        case Swollen():
            return "memory"
        case Exited(_, exitcodes.FINISHED, _, _):
            return "ended"
        case Exited(_, exitcodes.PORT_TAKEN, _, _):
            return "port"
        case Exited(_, code, _, _) if code < 0:
            return "killed"
        case _:
            return "crashed"


def _growth(count: int, before: int) -> int:
    """From ``before`` to ``count``; a count that went back has begun anew."""
    return count - before if count >= before else max(0, count)


def _step(run: _Run, name: str, count: int) -> int:
    """By how much a count of a run has grown, taken in only once; one that went back grows from there."""
    before = run.taken[name]
    run.taken[name] = count
    return max(0, count - before)


def _added(sums: Sequence[float], told: Sequence[float], old: Sequence[float]) -> list[float]:
    """A histogram with what another has grown by; one of another length, from another version, begins anew."""
    sums = sums if len(sums) == len(told) else [0.0] * len(told)
    old = old if len(old) == len(told) else [0.0] * len(told)
    return [round(a + max(0.0, b - c), 6) for a, b, c in zip(sums, told, old, strict=True)]


def _counter(content: Any) -> Counter[str]:
    return Counter({str(word): int(count) for word, count in content.items()})
