"""What the API and the supervisor cost beside many tasks that have ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring import cpu_s, in_turns, median, memory_mb, percentile, spread
from bench.running import short
from bench.table import Missing, Row, Say
from streamserver.core.files import write_json
from streamserver.core.leftovers import DRAINED_FILE
from streamserver.core.messages import canonical, parse_create, spec_hash
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.states import TaskState
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.store import TaskRecord, TaskStore, store_url
from streamserver.store.records import new_record, row_values
from streamserver.store.schema import COLUMNS, DATABASE
from streamserver.supervise.folders import OUTBOX_FILE, make_folder
from tests.e2e.harness import Server, server, task, wait_for

TITLE = "Control plane"
ABOUT = (
    "Three real servers at the same time, each with two tasks that run (motion, 2 frames a second) and so many that "
    "have ended, as they are left: row, status files, a drained outbox. Every request is a new connection, as "
    "application-web makes them; p95 is over all requests of all rounds. The yardstick of growth is the server with 10 "
    "rows; /livez is what a request costs that asks nobody. Idle CPU is per minute, while nobody asks for anything."
)

FEW, MANY, MOST = 10, 1000, 10_000
_PAGE = 100
_LIST_LIMIT_MS = {MANY: 20.0, MOST: 60.0}
_GROWTH = 1.25
_IDLE_S = 20.0
_SOURCE = PROJECT_DIR.parent / "shared" / "media" / "video" / "vtest.avi"
_REQUESTS = {"query": 50, "create and delete": 10, "livez": 50, "first page": 20, "middle page": 20, "last page": 20}

Times = dict[str, list[float]]


def measure(rounds: int, say: Say) -> list[Row]:
    """See ``ABOUT``; ``rounds`` times each, in turns."""
    if not _SOURCE.is_file():
        raise Missing(f"'{_SOURCE}' is not there: it is OpenCV's samples/data/vtest.avi")
    with contextlib.ExitStack() as stack:
        houses = {count: stack.enter_context(_house(count, say)) for count in (FEW, MANY, MOST)}
        asked = in_turns(rounds, {str(count): partial(_ask, one, count) for count, one in houses.items()})
        say("idle: nobody asks")
        idle = _idle(houses, 1 if short() else rounds)
        held = {count: [memory_mb(one.pids(word)).pss for word in _PROCESSES] for count, one in houses.items()}
    times = {int(name): _together(found) for name, found in asked.items()}
    rows = [row for count in (MANY, MOST) for row in _of_requests(times, count)]
    return rows + [row for number, word in enumerate(_PROCESSES) for row in _of_process(word, number, idle, held)]


_PROCESSES = ("streamserver.supervise", "gunicorn")


def _of_requests(times: dict[int, Times], count: int) -> Iterator[Row]:
    few, many = times[FEW], times[count]
    for place in ("first page", "middle page", "last page"):
        yield Row(
            measure=f"/task/list, {place} of {_PAGE}, {count} rows, p95",
            value=percentile(many[place], 0.95),
            unit="ms",
            yardstick="/livez, p95",
            reference=percentile(many["livez"], 0.95),
            limit=_LIST_LIMIT_MS[count],
            limit_of="value",
            remark=f"p50 {median(many[place]):.3g}",
        )
    yield _growth(f"/task/list, all {count} rows, p50", many["whole list"], few["whole list"], limit=None)
    for name in ("query", "create and delete", "livez"):
        yield _growth(f"{name}, {count} rows, p50", many[name], few[name], limit=None if name == "livez" else _GROWTH)


def _growth(measure: str, many: list[float], few: list[float], *, limit: float | None) -> Row:
    remark = f"p95 {percentile(many, 0.95):.3g}, with {FEW} rows {percentile(few, 0.95):.3g}"
    return Row(
        measure=measure,
        value=median(many),
        unit="ms",
        yardstick=f"{FEW} rows",
        reference=median(few),
        limit=limit,
        remark=remark,
    )


def _of_process(
    word: str, number: int, idle: dict[int, list[list[float]]], held: dict[int, list[float]]
) -> Iterator[Row]:
    of_few = [window[number] for window in idle[FEW]]
    for count in (MANY, MOST):
        found = [window[number] for window in idle[count]]
        yield Row(
            measure=f"{word}, idle, {count} rows",
            value=median(found),
            unit="CPU ms/min",
            yardstick=f"{FEW} rows",
            reference=median(of_few),
            remark=f"{spread(found)}; PSS {held[count][number]:.0f} MB, with {FEW} rows {held[FEW][number]:.0f} MB",
        )


@contextlib.contextmanager
def _house(count: int, say: Say) -> Iterator[Server]:
    """A server with ``count`` tasks that have ended and two that run."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        state = Path(folder) / "state"
        say(f"{count} rows are made")
        _fill(state, count)
        with server(state) as one:
            for number in range(2):
                assert one.create(_body(f"runs {number}"))["Code"] == 0
            for number in range(2):
                wait_for(partial(_runs, one, f"runs {number}"), f"task {number} runs", partial(one.query, "runs 0"))
            yield one


def _runs(one: Server, task_id: str) -> bool:
    return bool(one.query(task_id).get("State") == TaskState.RUNNING)


def _body(task_id: str) -> dict[str, Any]:
    extend = {"Detector": "motion", "Loop": 0, "Fps": 2}
    return task(task_id, str(_SOURCE), "http://127.0.0.1:9/nobody", interval=5, extend=extend)


def _fill(state: Path, count: int) -> None:
    """Makes the rows straight in the store's file, in one commit, and their folders."""
    state.mkdir(parents=True)
    TaskStore(store_url(state)).close()
    records = [_ended(number) for number in range(count)]
    rows = [row_values(record) for record in records]
    names = [name for name in COLUMNS if name != "id"]
    with contextlib.closing(sqlite3.connect(state / DATABASE)) as plain, plain:
        marks = ", ".join(f":{name}" for name in names)
        plain.executemany(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({marks})", rows)
    for record in records:
        _leave_folder(state / "tasks" / record.key, record.key)


def _ended(number: int) -> TaskRecord:
    body = json.dumps(_body(f"camera {number:05d}")).encode()
    request = canonical(
        parse_create(
            body,
            known_types={1: "tripwire"},
            max_bytes=len(body),
            events_kept_locally=False,
            source_exists=lambda _: True,
        )
    )
    record = new_record(request["TaskID"], f"source {number}", request, spec_hash(request))
    return replace(record, state=TaskState.FINISHED, reason="the source has ended")


def _leave_folder(folder: Path, key: str) -> None:
    make_folder(folder)
    EngineStatus(run=key, frames=795, detector="motion", stream="768x576 10 fps").write(folder / ENGINE_FILE)
    ClientStatus(run=key, events=3, delivered=3, per_algorithm=[3]).write(folder / CLIENT_FILE)
    (folder / OUTBOX_FILE).write_bytes(bytes(4096))
    write_json(folder / DRAINED_FILE, {"dead": 0})


def _ask(one: Server, count: int) -> Times:
    """Milliseconds of each request of one round."""
    middle = f"camera {max(0, count // 2 - 1):05d}"
    last = f"camera {max(0, count - _PAGE):05d}"
    subjects: dict[str, Callable[[], object]] = {
        "livez": lambda: _request(one, "GET", "/livez", None),
        "first page": lambda: _post(one, "/task/list", {"Limit": _PAGE}),
        "middle page": lambda: _post(one, "/task/list", {"Limit": _PAGE, "After": middle}),
        "last page": lambda: _post(one, "/task/list", {"Limit": _PAGE, "After": last}),
        "query": lambda: _post(one, "/task/query", {"TaskID": middle}, code=1),
        "create and delete": lambda: _come_and_go(one),
    }
    found = {name: [_milliseconds(ask) for _ in range(_REQUESTS[name])] for name, ask in subjects.items()}
    return found | {"whole list": [_milliseconds(lambda: _post(one, "/task/list", {})) for _ in range(3)]}


def _together(rounds: list[Times]) -> Times:
    times: Times = defaultdict(list)
    for found in rounds:
        for name, values in found.items():
            times[name] += values
    return times


def _milliseconds(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return (time.perf_counter() - start) * 1000


def _come_and_go(one: Server) -> None:
    """Deleted before it can start, or in the middle of it."""
    _post(one, "/task/create", _body("comes and goes"))
    _post(one, "/task/delete", {"TaskID": "comes and goes"})


def _post(one: Server, path: str, body: dict[str, Any], *, code: int = 0) -> None:
    reply = json.loads(_request(one, "POST", path, json.dumps(body).encode()))
    assert reply["Code"] == code, reply


def _request(one: Server, method: str, path: str, body: bytes | None) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)) as connection:
        connection.request(method, path, body)
        return connection.getresponse().read()


def _idle(houses: dict[int, Server], windows: int) -> dict[int, list[list[float]]]:
    """CPU milliseconds a minute of the supervisor and of web in each window, all houses at the same time."""
    pids = {count: [one.pids(word) for word in _PROCESSES] for count, one in houses.items()}
    found: dict[int, list[list[float]]] = {count: [] for count in houses}
    time.sleep(_IDLE_S)  # the backup after the last change, and what came and went
    for _ in range(windows):
        before = {count: [cpu_s(group) for group in groups] for count, groups in pids.items()}
        time.sleep(_IDLE_S)
        for count, groups in pids.items():
            spent = [cpu_s(group) - earlier for group, earlier in zip(groups, before[count], strict=True)]
            found[count].append([one * 1000 * 60 / _IDLE_S for one in spent])
    return found
