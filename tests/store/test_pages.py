"""Pages of the task list, and what the supervisor reads instead of all rows."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamserver.core.states import TaskState
from streamserver.store import Desired, TaskRecord, TaskStore, store_url

ODD_NAMES = ("", "a", "a\U0010ffff", "a\U0010ffffb", "ab", "b", "é", "\ud7ff", "\ue000", "\U0010ffff", "线", "线 1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    opened = TaskStore(store_url(tmp_path))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskStore]:
    opened = TaskStore(store_url(tmp_path_factory.mktemp("odd")))
    for number, name in enumerate(ODD_NAMES):
        key = _create(opened, name).key
        if number % 3 == 0:
            opened.set_state(key, TaskState.FAILED)
    _create(opened, "deleted")
    opened.delete("deleted")
    yield opened
    opened.close()


def _create(store: TaskStore, name: str, spec: str = "hash") -> TaskRecord:
    record, _ = store.create(name, "cam", {"TaskID": name}, spec)
    return record


def _joined(store: TaskStore, *, limit: int, between: Callable[[], object] = lambda: None) -> list[str]:
    names: list[str] = []
    more = True
    while more:
        page = store.page(limit=limit, after=names[-1] if names else "")
        names += [record.task_id for record in page.records]
        more = page.more
        between()
    return names


_TEXTS = st.sampled_from(ODD_NAMES) | st.text(st.sampled_from("ab1线\ud7ff\U0010ffff"), max_size=3)


@hypothesis_settings(deadline=None, max_examples=200)
@given(
    limit=st.none() | st.integers(1, 15), after=_TEXTS, prefix=_TEXTS, state=st.sampled_from([None, TaskState.FAILED])
)
def test_a_page_is_what_a_search_of_the_whole_list_gives(
    odd_store: TaskStore, limit: int | None, after: str, prefix: str, state: TaskState | None
) -> None:
    chosen = [
        row for row in odd_store.list() if row.task_id.startswith(prefix) and (state is None or row.state is state)
    ]
    following = sorted((row for row in chosen if row.task_id > after), key=lambda row: row.task_id)
    page = odd_store.page(limit=limit, after=after, prefix=prefix, state=state)
    assert page.records == following[:limit]
    assert (page.total, page.more) == (len(chosen), limit is not None and len(following) > limit)


@pytest.mark.parametrize("seed", range(5))
def test_whoever_is_there_all_the_time_is_on_one_page_whatever_comes_and_goes(store: TaskStore, seed: int) -> None:
    chance = random.Random(seed)
    there = {f"t{number:02d}" for number in range(0, 60, 2)}
    for name in sorted(there, key=lambda _: chance.random()):
        _create(store, name)

    def churn() -> None:
        for _ in range(4):
            name = f"t{chance.randrange(1, 60, 2):02d}"
            if not store.delete(name):
                _create(store, name)
            _create(store, f"t{chance.randrange(0, 60, 2):02d}", spec=str(chance.random()))  # an edit: a new row

    names = _joined(store, limit=7, between=churn)
    assert len(names) == len(set(names)) and there <= set(names)
    assert names == sorted(names)
    assert _joined(store, limit=7) == sorted(row.task_id for row in store.list())


def test_pages_are_whole_while_other_threads_create_and_delete(store: TaskStore) -> None:
    there = [f"stays {number:03d}" for number in range(100)]
    for name in there:
        _create(store, name)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            _create(store, "stays 050 and a half")
            store.delete("stays 050 and a half")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            names = _joined(store, limit=9)
            assert [name for name in names if name != "stays 050 and a half"] == there
    finally:
        stop.set()
        thread.join()


def test_what_is_at_rest_is_not_at_work_until_it_is_deleted(store: TaskStore) -> None:
    rows = {state: _create(store, state.value) for state in TaskState}
    for state, row in rows.items():
        store.set_state(row.key, state)
    ended = {TaskState.FINISHED, TaskState.FAILED, TaskState.STOPPED}
    at_work = {seen.key for seen in store.at_work()}
    assert at_work == {row.key for state, row in rows.items() if state not in ended}
    assert set(store.at_rest(limit=10)) == {rows[state].key for state in ended}
    assert store.keys() == {row.key for row in rows.values()}
    store.delete("FINISHED")
    (seen,) = [one for one in store.at_work() if one.key == rows[TaskState.FINISHED].key]
    assert (seen.desired, seen.revision) == (Desired.DELETED, 1)
    assert set(store.at_rest(limit=10)) == {rows[TaskState.FAILED].key, rows[TaskState.STOPPED].key}


def test_a_state_that_nobody_knows_is_at_work(tmp_path: Path, store: TaskStore) -> None:
    record = _create(store, "t")
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite", isolation_level=None)) as plain:
        plain.execute("UPDATE tasks SET state = 'FINISHE\x01', revision = -3")
    assert [(seen.key, seen.revision) for seen in store.at_work()] == [(record.key, 1)]


def test_the_walk_along_those_at_rest_passes_each_once(store: TaskStore) -> None:
    keys = {_create(store, f"t{number}").key for number in range(25)}
    for key in keys:
        store.set_state(key, TaskState.FINISHED)
    walked: list[str] = []
    while step := store.at_rest(limit=4, after=walked[-1] if walked else ""):
        walked += step
    assert len(walked) == 25 and set(walked) == keys


def test_rows_are_found_by_any_number_of_keys(store: TaskStore) -> None:
    rows = [_create(store, f"t{number}") for number in range(3)]
    many = [f"none{number}" for number in range(1200)]
    found = store.records([rows[2].key, *many, rows[0].key])
    assert sorted(found, key=lambda row: row.task_id) == [rows[0], rows[2]]
    assert store.records([]) == []


def test_all_versions_of_a_task_are_found_deleted_ones_too(store: TaskStore) -> None:
    first, second = _create(store, "t", "1"), _create(store, "t", "2")
    _create(store, "other")
    assert [row.key for row in store.versions_of("t")] == [first.key, second.key]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.page(limit=5, after="t", prefix="t"), "one_running_row_of_a_task_id"),
        (lambda store: store.find("t"), "one_running_row_of_a_task_id"),
        (lambda store: store.find_by_source("cam"), "tasks_by_source"),
        (lambda store: store.records(["k"]), "sqlite_autoindex_tasks_1"),
    ],
    ids=["page", "find", "source", "keys"],
)
def test_what_is_asked_often_is_asked_of_an_index(
    store: TaskStore, ask: Callable[[TaskStore], object], index: str
) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []
    sa.event.listen(
        store._engine, "before_cursor_execute", lambda *event: asked.append((event[2], tuple(event[3] or ())))
    )
    ask(store)
    query, parameters = next(one for one in asked if one[0].startswith("SELECT tasks.id"))
    with closing(store._connect()) as plain:
        plan = plain.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
    assert any(f"SEARCH tasks USING INDEX {index}" in str(step[3]) for step in plan), plan
