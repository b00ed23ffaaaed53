"""A user who creates, edits and deletes tasks while the server is being broken, and remembers what was promised."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.chaos.judge import Promises, Verdict, judge
from tests.chaos.receivers import Receivers
from tests.chaos.targets import courier_works, silent, sweep
from tests.chaos.world import alarm_ids, alarm_task, orphans, outboxes, task_ids, wait_drained, zombies
from tests.e2e.harness import Server

PATIENCE_S = 240.0
"""How long anything may take to come back; 2 s is usual on a quiet machine."""

_POLL_S = 0.1
"""Each look costs the server that it asks some milliseconds."""

_OVER = ("RUNNING", "FINISHED")


class Campaign:
    """Tasks of one server and everything that was promised of them.

    A request whose answer was lost is sent again until it is answered, as application-web's keeper does.

    Args:
        server: it runs, or will.
        several: who gets the alarms.
        clip: what the tasks play.
        fps: -1 plays it as fast as it goes, else at its own pace.
        patience_s: how long anything may take to come back before it is called lost.
        arrival_s: how long alarms may take to arrive in the end; ``patience_s`` unless given.
    """

    def __init__(
        self,
        server: Server,
        several: Receivers,
        clip: Path,
        *,
        fps: float = 0,
        patience_s: float = PATIENCE_S,
        arrival_s: float | None = None,
    ) -> None:
        self.server = server
        self.receivers = several
        self.promises = Promises()
        self.complaints: list[str] = []
        self.patience_s = patience_s
        self._arrival_s = patience_s if arrival_s is None else arrival_s
        self._clip = clip
        self._fps = fps
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._edits = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The server runs within; what it leaves is killed and complained of."""
        try:
            self.server.start()
            yield
        finally:
            self.server.stop()
            if left := sweep(self.server):
                self.complain(f"still running after the stop: {left}")

    def body(self, name: str, clip: Path | None = None, *, loops: int = 0) -> dict[str, Any]:
        """The create body of one of these tasks."""
        return alarm_task(name, clip or self._clip, self.receivers.urls, loops=loops, fps=self._fps)

    def create(self, name: str, *, loops: int = 0) -> None:
        """Creates a task that plays the clip ``loops`` times, 0 for ever; returns when Code 0 has come."""
        self._until_accepted(name, self.body(name, loops=loops))
        with self._lock:
            if loops:
                self.promises.counted[name] = loops
            else:
                self.promises.running.add(name)

    def submit(self, name: str, body: dict[str, Any]) -> None:
        """Creates a task that has to be RUNNING at the end, from a body of the caller's."""
        self._until_accepted(name, body)
        with self._lock:
            self.promises.running.add(name)

    def edit(self, name: str) -> None:
        """Sends the task's body again with another device name: a new run takes the old one's place."""
        with self._lock:
            self.promises.uncounted.add(name)
            self._edits += 1
        body = self.body(name)
        body["InputSrc"]["SrcID"] = f"camera of {name}, edit {self._edits}"
        self._until_accepted(name, body)

    def update(self, name: str) -> None:
        """Lets the task's report addresses take turns in another order; returns when both processes go by it."""
        body = {"TaskID": name, "Reporting": {"ReportUrlList": self.receivers.urls[::-1]}}
        revision = 0
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            if not revision:
                reply = self._ask("/task/update", body)
                revision = reply["Result"]["Revision"] if reply is not None and reply["Code"] == 0 else 0
            reply = self._ask("/task/query", {"TaskID": name}) if revision else None
            if reply is not None and reply.get("Result", {}).get("Revision", 0) >= revision:
                return
            time.sleep(_POLL_S)
        what = f"revision {revision} is not in force" if revision else "not accepted"
        self.complain(f"update of {name}: {what} within {self.patience_s:.0f} s: {reply}")

    def delete(self, name: str) -> None:
        """Deletes a task; returns when Code 0 has come, or -1 after an answer that was lost."""
        with self._lock:
            self.promises.running.discard(name)
        asked_before = False
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            reply = self._ask("/task/delete", {"TaskID": name})
            if reply is not None and (reply["Code"] == 0 or (reply["Code"] == -1 and asked_before)):
                with self._lock:
                    self.promises.deleted.add(name)
                return
            if reply is not None and reply["Code"] == -1:
                self.complain(f"{name} was accepted, and delete does not know it")
                return
            asked_before = True
            time.sleep(_POLL_S)
        self.complain(f"delete of {name} was not answered within {self.patience_s:.0f} s")

    def complain(self, text: str) -> None:
        """Keeps what does not hold."""
        with self._lock:
            self.complaints.append(text)

    def name_of(self, key: str) -> str:
        """The TaskID of the task in the folder ``key``, or ``key`` when the folder was never seen."""
        return self._task_ids().get(key) or self._names.get(key, key)

    def wanted(self) -> set[str]:
        """TaskIDs that have to be RUNNING, or FINISHED where their loops are counted."""
        with self._lock:
            return self.promises.running | set(self.promises.counted)

    def states(self) -> dict[str, str] | None:
        """TaskID -> State of every listed task; ``None`` when the API does not answer now."""
        reply = self._ask("/task/list", {})
        if reply is None or reply["Code"] != 0:
            return None
        return {row["TaskID"]: row["State"] for row in reply["Result"]}

    def look(self) -> None:
        """Writes down which alarms are committed now."""
        names = self._task_ids()
        for key, path in outboxes(self.server.state_dir).items():
            if key in names and (found := alarm_ids(path)):
                self.promises.alarms[names[key]] |= found

    def running(self) -> set[str]:
        """The tasks that are RUNNING now, by what the API says and by their heartbeats."""
        states = self.states() or {}
        names = [name for name in self.wanted() if states.get(name) == "RUNNING"]
        return set(names) - set(silent(self.server, names, self._folders(), time.monotonic() - 2.0))

    def wait_back(self, names: Collection[str], since_s: float) -> float | None:
        """Waits until the API answers, all of ``names`` are RUNNING with heartbeats of living processes from after
        ``since_s``, and so is the courier if there is work for it. Tasks that were deleted or have finished meanwhile
        do not count.

        Returns:
            the seconds from ``since_s``, or ``None`` when it took longer than the campaign's patience.
        """
        while (passed := time.monotonic() - since_s) < self.patience_s:
            if not self.missing(names, since_s) and courier_works(self.server, since_s):
                return passed
            time.sleep(_POLL_S)
        return None

    def missing(self, names: Collection[str], since_s: float) -> list[str]:
        """Those of ``names`` that are not back; see ``wait_back``."""
        states = self.states()
        if states is None:
            return list(names) or ["the API"]
        names = [name for name in names if name in self.wanted() and states.get(name) != "FINISHED"]
        wrong = [name for name in names if states.get(name) != "RUNNING"]
        return wrong or silent(self.server, names, self._folders(), since_s)

    def settle(self) -> bool:
        """Waits until every accepted task is RUNNING or FINISHED; False, with a complaint, when that never comes."""
        back_s = self.wait_back(self.wanted(), time.monotonic())
        if back_s is None:
            self.complain(f"not RUNNING within {self.patience_s:.0f} s: {self._what_is_wrong()}")
        return back_s is not None

    def _what_is_wrong(self) -> object:
        reply = self._ask("/task/list", {}) or {"Result": []}
        rows = {row["TaskID"]: f"{row['State']} {row.get('Reason', '')}".strip() for row in reply["Result"]}
        wrong = {name: rows.get(name, "not listed") for name in self.wanted()}
        bad = {name: words for name, words in wrong.items() if words not in _OVER}
        return bad or f"no heartbeat of {self.missing(self.wanted(), time.monotonic() - 2.0)}"

    def wait_finished(self) -> None:
        """Waits until the tasks with counted loops have played them."""
        until = time.monotonic() + 3 * self.patience_s
        while time.monotonic() < until:
            states = self.states() or {}
            if all(states.get(name) in ("FINISHED", "FAILED") for name in self.promises.counted):
                return
            time.sleep(4 * _POLL_S)

    def conclude(self) -> Verdict:
        """Lets everything arrive, deletes the tasks that never end, lets that arrive, and judges, processes too."""
        self.wait_finished()
        self.settle()
        states = self.states() or {}
        self.look()
        due = replace(self.promises, running=set(self.promises.running), deleted=set(self.promises.deleted))
        for name in sorted(due.running):
            self.look()
            self.delete(name)
        self.look()
        missing = wait_drained(self.server, self.receivers, ids=self.promises.committed(), patience_s=self._arrival_s)
        if missing:
            self.complain(f"{len(missing)} alarms had not arrived {self._arrival_s:.0f} s after all receivers were up")
        self._wait_folders_gone()
        verdict = judge(due, states, self.receivers.all())
        self.complaints += [*verdict.complaints, *self.receivers.protests()]
        self.complaints += [f"orphans: {found}" for found in (orphans(self.server),) if found]
        self.complaints += [f"zombies: {found}" for found in (zombies(self.server),) if found]
        return verdict

    def _wait_folders_gone(self) -> None:
        """The folders of deleted tasks go once everything is delivered."""
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            left = {key: name for key, name in self._task_ids().items() if name in self.promises.deleted}
            if not left:
                return
            self.look()
            time.sleep(4 * _POLL_S)
        self.complain(f"folders of deleted tasks stayed: {left}")

    def _until_accepted(self, name: str, body: dict[str, Any]) -> None:
        until = time.monotonic() + self.patience_s
        reply = None
        while time.monotonic() < until:
            reply = self._ask("/task/create", body)
            if reply is not None and reply["Code"] == 0:
                return
            time.sleep(_POLL_S)
        self.complain(f"create of {name} was not accepted within {self.patience_s:.0f} s: {reply}")

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The reply, or ``None`` when none came."""
        try:
            return self.server.post(path, body)
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def _task_ids(self) -> dict[str, str]:
        """Key -> TaskID of the folders that are there; a key's task never changes, so each is read once."""
        there = {path.name for path in (self.server.state_dir / "tasks").glob("*")}
        if there - set(self._names):
            self._names |= task_ids(self.server.state_dir)
        return {key: self._names[key] for key in there if key in self._names}

    def _folders(self) -> dict[str, Path]:
        """TaskID -> folder of the run that was started last."""
        newest: dict[str, tuple[float, Path]] = {}
        for key, name in self._task_ids().items():
            folder = self.server.state_dir / "tasks" / key
            try:
                started_at = (folder / "client.json").stat().st_mtime
            except OSError:
                continue
            if name not in newest or started_at > newest[name][0]:
                newest[name] = (started_at, folder)
        return {name: folder for name, (_, folder) in newest.items()}
