"""Sums that outlive processes, runs and tasks, and count nothing twice."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.counters import DELAY_BOUNDS_S, INFERENCE_BOUNDS_S, TALLY_FILE, Histogram
from streamserver.core.states import TaskState
from streamserver.core.status import ClientStatus, CourierStatus, EngineStatus
from streamserver.store import TaskRecord, TaskStore, store_url
from streamserver.supervise.policy import Event, Exited, Late, Refused, Role, Silent, Swollen
from streamserver.supervise.tally import Tally
from tests.supervise.house import House, wait_until

WALL = 1_000_000.0


class Book:
    """A tally over rows of a real store; ``again`` is a supervisor that was killed and starts anew."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.store = TaskStore(store_url(state))
        self.tally = Tally(state, wall=lambda: WALL)

    def row(self, task_id: str, *types: int) -> TaskRecord:
        request = {"TaskID": task_id, "Algorithm": [{"Type": type_} for type_ in types or (1,)]}
        record, _ = self.store.create(task_id, "cam", request, str(types))
        self.tally.adopt(record)
        return record

    def again(self) -> None:
        self.tally = Tally(self.state, wall=lambda: WALL)

    def saved(self) -> dict[str, Any]:
        self.tally.save(0.0, at_once=True)
        content: dict[str, Any] = json.loads((self.state / TALLY_FILE).read_text())
        return content


@pytest.fixture
def book(tmp_path: Path) -> Any:
    one = Book(tmp_path)
    yield one
    one.store.close()


def histogram(bounds: tuple[float, ...], *values: float) -> list[float]:
    one = Histogram(bounds)
    for value in values:
        one.observe(value)
    return one.told()


def test_a_histogram_counts_by_size_and_a_clock_that_was_stepped_back_counts_as_nothing() -> None:
    assert histogram((1.0, 2.0), 0.5, 1.0, 1.5, 9.0, -3.0) == [3, 1, 1, 12.0]


def test_what_a_process_counts_grows_over_its_restarts_and_those_of_the_supervisor(book: Book) -> None:
    row = book.row("t")
    times = [["yolo.onnx", "cpu", histogram(INFERENCE_BOUNDS_S, 0.02, 0.02)]]
    for pid, dropped in ((1, 5), (1, 7), (1, 7), (2, 3)):
        status = EngineStatus(pid=pid, frames=100, dropped=dropped, reconnect_reasons={"lost": 1}, inference=times)
        book.tally.heard(row, status, 0.0)
    saved = book.saved()
    frames, reconnects, _, _ = saved["tasks"]["t"]
    assert (frames["processed"], frames["dropped"], reconnects["lost"]) == (100, 10, 2)
    assert sum(saved["inference"]["yolo.onnx\tcpu"][:-1]) == 4
    book.again()
    book.tally.heard(row, EngineStatus(pid=2, frames=130, dropped=1), 0.0)  # a new process, by chance with an old pid
    frames, _, _, _ = book.saved()["tasks"]["t"]
    assert (frames["processed"], frames["dropped"]) == (130, 11)


def test_what_a_run_counts_is_taken_in_once_however_often_anybody_is_killed(book: Book) -> None:
    row = book.row("t", 1, 3, 1)
    status = ClientStatus(pid=7, per_algorithm=[4, 2, 1], dropped=3, expired=1, lost=2, dead=2, pending=6)
    status.oldest_age_s, status.attempts, status.delays = 40.0, {"failed": 2}, histogram(DELAY_BOUNDS_S, 0.3)
    for pid in (7, 8):
        status.pid = pid
        book.tally.heard(row, status, 0.0)
        before = book.saved()
        book.again()
    assert before["tasks"]["t"][2] == {"1": 5, "3": 2}, "two algorithms of one kind are one"
    assert before["dropped"] == {"expired": 1, "full": 2, "damaged": 2, "refused": 2}
    assert before["attempts"]["failed"] == 4, "two processes with two attempts each"
    assert (before["pending"], before["oldest_age_s"]) == (6, 40.0)
    status.dead = 0  # replayed
    book.tally.heard(row, status, 0.0)
    status.dead = 1
    book.tally.heard(row, status, 0.0)
    assert book.saved()["dropped"]["refused"] == 3


def test_an_edited_task_keeps_its_sums_and_a_deleted_one_takes_them_along(book: Book) -> None:
    old = book.row("t", 1)
    book.tally.heard(old, EngineStatus(pid=1, frames=50), 0.0)
    book.tally.heard(old, ClientStatus(pid=2, per_algorithm=[4], dropped=5), 0.0)
    new = book.row("t", 3)
    book.tally.heard(new, EngineStatus(pid=3, frames=1), 0.0)
    book.tally.heard(new, ClientStatus(pid=4, per_algorithm=[1]), 0.0)
    book.tally.forget(old.key)
    saved = book.saved()
    assert saved["tasks"]["t"][0]["processed"] == 51
    assert saved["tasks"]["t"][2] == {"1": 4, "3": 1}
    book.tally.forget(new.key)
    saved = book.saved()
    assert (saved["tasks"], saved["runs"]) == ({}, {})
    assert saved["dropped"]["full"] == 5, "the sums of all tasks stay"


def test_rows_that_went_while_no_supervisor_ran_are_forgotten_at_the_start(book: Book) -> None:
    kept, gone = book.row("kept"), book.row("gone")
    book.saved()
    book.again()
    book.tally.begin({kept.key})
    assert gone.key not in book.saved()["runs"]
    assert list(book.saved()["tasks"]) == ["kept"]
    assert book.saved()["restarts"] == {"supervisor started": 1}


def test_alarms_that_the_courier_has_are_not_counted_with_the_task(book: Book) -> None:
    row = book.row("t")
    book.tally.heard(row, ClientStatus(pid=2, pending=6, oldest_age_s=5.0, attempts={"failed": 1}), 0.0)
    book.tally.closed(row, ClientStatus(pid=2, per_algorithm=[6], pending=6, oldest_age_s=5.0))
    book.tally.heard_courier(CourierStatus(pid=3, pending=6, oldest_age_s=6.0, attempts={"delivered": 1}))
    saved = book.saved()
    assert (saved["pending"], saved["oldest_age_s"]) == (6, 6.0)
    assert saved["attempts"] == {"failed": 1, "delivered": 1}
    assert saved["tasks"]["t"][2] == {"1": 6}


def test_deliveries_of_a_client_that_ended_before_this_supervisor_began_are_not_told_again(book: Book) -> None:
    row = book.row("t")
    last = ClientStatus(pid=2, per_algorithm=[3], attempts={"delivered": 3}, delays=histogram(DELAY_BOUNDS_S, 0.2, 0.2))
    book.tally.heard(row, last, 0.0)
    before = book.saved()
    book.again()
    book.tally.closed(row, last)
    assert book.saved() == before


def test_the_last_picture_is_remembered_while_a_process_has_none_yet(book: Book) -> None:
    row = book.row("t")
    assert book.saved()["tasks"]["t"][3] == WALL, "before the first one it is the time of the create"
    book.tally.heard(row, EngineStatus(pid=1, beat=10.0, frame_age_s=3.0), 11.0)
    book.tally.heard(row, EngineStatus(pid=2, beat=12.0, frame_age_s=-1.0), 12.0)
    assert book.saved()["tasks"]["t"][3] == WALL - 4.0


def test_frames_of_an_engine_that_writes_no_status_are_those_that_its_client_got(book: Book) -> None:
    row = book.row("t")
    for pid, received in ((1, 5), (1, 9), (2, 2)):
        book.tally.received(row, ClientStatus(pid=pid, received=received))
    assert book.saved()["tasks"]["t"][0]["processed"] == 11


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (Exited(Role.ENGINE, 1), "engine crashed"),
        (Exited(Role.CLIENT, -9), "client killed"),
        (Exited(Role.CLIENT, 0, done=False), "client ended"),
        (Silent(Role.ENGINE, 30.0), "engine silent"),
        (Late(Role.CLIENT, 30.0), "client late"),
        (Swollen(Role.ENGINE, 900.0, 500), "engine memory"),
        (Refused("no folder", permanent=False), None),
    ],
    ids=["crash", "signal", "left", "silence", "late", "memory", "never ran"],
)
def test_restarts_are_counted_by_who_and_why(event: Event, word: str | None, book: Book) -> None:
    book.tally.follow(event)
    assert book.saved()["restarts"] == ({word: 1} if word else {})


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"tasks": {"t": [1]}}', '{"tasks": {}, "runs": {"k": ["t", {}, "x", 1]}}', "\x00" * 100],
    ids=["empty", "a list", "null", "short", "words for numbers", "zeros after a loss of power"],
)
def test_a_file_that_makes_no_sense_is_begun_anew(content: str, book: Book) -> None:
    book.saved()
    (book.state / TALLY_FILE).write_text(content)
    book.again()
    book.tally.heard(book.row("t"), EngineStatus(pid=1, frames=5), 0.0)
    assert book.saved()["tasks"]["t"][0]["processed"] == 5


def test_a_status_that_makes_no_sense_costs_no_more_than_itself(book: Book) -> None:
    row = book.row("t")
    spoilt: Any = ClientStatus(pid=1, per_algorithm=["x"])  # type: ignore[list-item]
    book.tally.heard(row, spoilt, 0.0)
    book.tally.heard(row, EngineStatus(pid=1, frames=2, inference=[1, 2]), 0.0)
    book.tally.heard_courier(CourierStatus(attempts=None))  # type: ignore[arg-type]
    assert book.saved()["tasks"]["t"][0]["processed"] == 2


def test_it_is_written_at_most_every_two_seconds_for_its_owner_alone(book: Book) -> None:
    row = book.row("t")
    file = book.state / TALLY_FILE
    times = []
    for now in (10.0, 11.9, 12.0, 13.9, 14.1):
        book.tally.heard(row, EngineStatus(pid=1, frames=int(now * 10)), now)
        book.tally.save(now)
        times.append(json.loads(file.read_text())["tasks"]["t"][0]["processed"])
    assert times == [100, 100, 120, 120, 141]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_state_folder_that_was_removed_is_not_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally(tmp_path / "gone")
    with caplog.at_level(logging.ERROR):
        tally.save(0.0)
        tally.save(10.0)
    assert not (tmp_path / "gone").exists()
    assert len(caplog.records) == 1, "said once"


def test_a_supervisor_at_work_counts_frames_and_restarts_and_forgets_a_deleted_task(
    make_house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.supervise.tally.SAVE_S", 0.0)
    house: House = make_house()
    house.engine = ["exit:1", "work"]
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    file = house.settings.state_path / TALLY_FILE

    def saved() -> dict[str, Any]:
        content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return content

    wait_until(lambda: saved().get("restarts", {}).get("engine crashed"), "the crash is counted")
    assert "t1" in saved()["tasks"]
    house.store.delete("t1")
    wait_until(lambda: "t1" not in saved()["tasks"], "it is forgotten")
    assert saved()["restarts"]["engine crashed"] == 1
