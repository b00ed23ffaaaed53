"""``/livez`` and ``/readyz``, and what is refused on a full disk."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.counters import TALLY_FILE
from streamserver.core.errors import DiskFullError, StateLostError, StoreDamagedError
from streamserver.core.settings import Settings
from streamserver.durable import Damage, note
from streamserver.store import TaskStore
from streamserver.supervise import lock
from streamserver.web import create_app
from tests.web.conftest import TYPES, body

_TOO_MUCH_MB = 10**9


def _client(settings: Settings, store: TaskStore) -> FlaskClient:
    app: Flask = create_app(settings, store=store, check=lambda request, settings: None, known_types=lambda: TYPES)
    return app.test_client()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A supervisor's beat stays good while a busy machine gets round to the next line of a test."""
    return Settings(state_dir=str(tmp_path / "state"), file_dirs="/", heartbeat_timeout_s=60.0)


@pytest.fixture
def full(settings: Settings, store: TaskStore) -> FlaskClient:
    """A server whose mark is above the free space of any disk."""
    return _client(Settings(state_dir=str(settings.state_path), disk_reserve_mb=_TOO_MUCH_MB), store)


def test_it_is_alive_whatever_else_is_wrong(full: FlaskClient) -> None:
    response = full.get("/livez")
    assert (response.status_code, response.get_json()) == (200, {"Alive": True})


def test_it_is_ready_while_store_disk_and_supervisor_are(client: FlaskClient, settings: Settings) -> None:
    held = lock.acquire(lock.lock_file(settings.state_path))
    assert held is not None
    with held:
        held.beat()
        response = client.get("/readyz")
    good = {"Ok": True, "Reason": ""}
    checks = {"store": good, "disk": good, "supervisor": good, "outbox": good}
    assert (response.status_code, response.get_json()) == (200, {"Ready": True, "Checks": checks, "Notes": []})


def test_alarms_that_wait_for_long_are_told_of_and_keep_nobody_from_sending_tasks(
    client: FlaskClient, settings: Settings
) -> None:
    file = settings.state_path / TALLY_FILE
    file.parent.mkdir()
    file.write_text(json.dumps({"pending": 7, "oldest_age_s": 301.0}))
    held = lock.acquire(lock.lock_file(settings.state_path))
    assert held is not None
    with held:
        held.beat()
        response = client.get("/readyz")
    check = response.get_json()["Checks"]["outbox"]
    assert (response.status_code, check["Ok"]) == (200, True)
    assert "7 alarms wait for a receiver, the oldest for 301 s" in check["Reason"]


def test_without_a_supervisor_it_is_not_ready(client: FlaskClient) -> None:
    response = client.get("/readyz")
    check = response.get_json()["Checks"]["supervisor"]
    assert (response.status_code, check["Ok"]) == (503, False)
    assert "no supervisor has worked in" in check["Reason"] and "start.py" in check["Reason"]


@pytest.mark.parametrize("step_s", [-7200.0, 7200.0], ids=["clock set forward", "clock set back"])
def test_a_supervisor_that_has_not_beaten_for_long_is_told_from_one_whose_clock_was_stepped(
    step_s: float, tmp_path: Path
) -> None:
    file = lock.lock_file(tmp_path)
    held = lock.acquire(file)
    assert held is not None
    with held:
        os.utime(file, (time.time() + step_s,) * 2)
        assert not lock.beats(file, 60.0)
        held.beat()
        assert lock.beats(file, 60.0)
    assert not lock.beats(tmp_path / "none", 10.0)


def test_a_full_disk_refuses_creates_and_nothing_else(full: FlaskClient, store: TaskStore) -> None:
    assert full.post("/task/create", json=body(TaskID="")).get_json()["Code"] == 4000, "what is wrong comes first"
    store.create("old", "camera", body(TaskID="old"), "hash")
    reply = full.post("/task/create", json=body(TaskID="new")).get_json()
    assert reply["Code"] == DiskFullError.code == 5018
    assert "are free, below the 1000000000 MB of disk_reserve_mb; make room there" in reply["Msg"]
    assert store.find("new") is None
    assert [entry["TaskID"] for entry in full.get("/task/list").get_json()["Result"]] == ["old"]
    assert full.post("/task/delete", json={"TaskID": "old"}).get_json()["Code"] == 0
    response = full.get("/readyz")
    assert response.status_code == 503
    assert "below the 1000000000 MB" in response.get_json()["Checks"]["disk"]["Reason"]


def test_damage_of_late_is_noted(client: FlaskClient, settings: Settings) -> None:
    note(Damage(settings.state_path / "tasks.sqlite", None, "it is malformed", 3, 1))
    (text,) = client.get("/readyz").get_json()["Notes"]
    assert "tasks.sqlite was damaged (it is malformed)" in text


@pytest.mark.parametrize("path", ["/task/list", "/readyz"])
def test_damage_found_by_the_web_process_ends_the_supervisor_once(
    path: str, settings: Settings, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> Any:
        raise StoreDamagedError("the task database is malformed", cure="it is mended at opening")

    monkeypatch.setattr(store, "list", damaged)
    monkeypatch.setattr(store, "version", damaged)
    client = _client(settings, store)
    held = lock.acquire(lock.lock_file(settings.state_path))
    assert held is not None
    with held:
        held.beat()
        assert "the task database is malformed" in json.dumps(client.get(path).get_json())
        with pytest.raises(StateLostError, match="found the task database damaged"):
            held.beat()
        client.get(path)
        held.beat()  # so soon again: opening it anew did not help
