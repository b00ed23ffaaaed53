"""A client at work takes over other report addresses and other entries of its task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.revision import forget_revision, write_revision
from streamserver.core.status import ClientStatus
from tests.business.support import Client, make_project, message, receiver, wait_until, write_config

SETTLED = (2, "settled")


class Task:
    """A task's folder as the supervisor writes it, and the client at work in it."""

    def __init__(self, folder: Path, url: str, names: list[tuple[int, str]]) -> None:
        self.folder = folder
        self.config = write_config(folder, [url], names)
        write_revision(folder, 1)

    def rewrite(self, revision: int, **changes: Any) -> None:
        """Writes client.json anew, the revision last."""
        forget_revision(self.folder)
        self.config |= changes
        (self.folder / "client.json").write_text(json.dumps(self.config))
        write_revision(self.folder, revision)

    def entries(self, **request: Any) -> list[dict[str, Any]]:
        """The algorithms with keys of the first one's request changed."""
        first, *others = self.config["algorithms"]
        return [{**first, "request": {**first["request"], **request}}, *others]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], Client]]:
    project = make_project(tmp_path / "project")
    clients: list[Client] = []

    def begin(folder: Path) -> Client:
        clients.append(Client(project, folder))
        return clients[-1].wait_ready()

    yield begin
    for client in clients:
        client.close()


def in_force(number: int) -> Callable[[ClientStatus], bool]:
    return lambda status: status.revision == number and not status.update_problem


def test_addresses_change_while_alarms_flow_and_pass_each_alarm_once(
    tmp_path: Path, start: Callable[[Path], Client]
) -> None:
    with receiver() as first, receiver() as second:
        task = Task(tmp_path / "task", first.url, [(1, "everyone")])
        client = start(task.folder)
        assert in_force(1)(client.wait_status("it runs", lambda s: s.ready))
        frames = iter(range(100))
        for revision, urls in enumerate(([second.url], [first.url, second.url], [first.url]), start=2):
            for _ in range(4):
                client.raise_alarm(next(frames), [1])
            task.rewrite(revision, report_urls=urls)
            client.wait_status(f"revision {revision}", in_force(revision))
        client.raise_alarm(next(frames), [1])
        client.wait_status("all is delivered", lambda s: s.delivered == 13 and s.pending == 0)
        assert sorted(first.frames() + second.frames()) == list(range(13))
        assert 12 in first.frames() and first.posts and second.posts


def test_an_entry_that_changed_begins_anew_and_one_that_did_not_goes_on(
    tmp_path: Path, start: Callable[[Path], Client]
) -> None:
    with receiver() as taker:
        task = Task(tmp_path / "task", taker.url, [SETTLED, SETTLED])
        client = start(task.folder)
        for number in (0, 1):  # three frames make somebody settled
            for index in (0, 1):
                assert "pictures" not in client.post(message(number, [5]), index).json()
        task.rewrite(2, algorithms=task.entries(Note=1))
        client.wait_status("revision 2", in_force(2))
        answers = [client.post(message(2, [5]), index).json().get("pictures") for index in (0, 1)]
        assert answers == [None, True]
        task.rewrite(3, algorithms=task.entries(Enter=1))
        client.wait_status("revision 3", in_force(3))
        assert client.post(message(3, [6]), 0).json().get("pictures") is True


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"report_urls": ["ftp://u:secret@h/x"]}, "ftp://***@h/x' is no http or https address"),
        ({"algorithms": []}, "client.json has other algorithms than this process; restart the task"),
        ({"port": "x"}, "$.port: expected int"),
    ],
    ids=["address", "algorithms", "form"],
)
def test_a_file_that_cannot_be_used_changes_nothing_and_is_told(
    tmp_path: Path, start: Callable[[Path], Client], changes: dict[str, Any], problem: str
) -> None:
    with receiver() as taker:
        task = Task(tmp_path / "task", taker.url, [(1, "everyone")])
        client = start(task.folder)
        sound = {key: task.config[key] for key in changes}
        task.rewrite(2, **changes)
        status = client.wait_status("it is told", lambda s: bool(s.update_problem))
        assert status.update_problem.startswith("revision 2 is not in force: ") and problem in status.update_problem
        assert status.revision == 1
        client.raise_alarm(0, [1])
        wait_until(lambda: taker.posts, what="the old address still gets alarms")
        task.rewrite(3, **sound)
        client.wait_status("the next one is in force", in_force(3))
