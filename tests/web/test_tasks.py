"""The four endpoints as application-web and others call them."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.errors import GraphError
from streamserver.core.examples import NEW_TASK_BODY, edited_body, line_only_body, without_drawings_body
from streamserver.core.files import write_json
from streamserver.core.messages import canonical, parse_create
from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.store import TaskStore
from streamserver.web import create_app
from tests.hostile_bodies import ADDRESS, ALGORITHM, NOT_JSON, WRONG, edited
from tests.web.conftest import TYPES, body

SUCCESS = {"Code": 0, "Msg": "success"}

NOW = 1_000_000.0
"""What the monotonic clock says in these tests, however long the machine takes for one."""

FOUR_BODIES = {
    "new": NEW_TASK_BODY,
    "edited": edited_body(),
    "line only": line_only_body(),
    "no drawings": without_drawings_body(),
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who writes a status and for who reads it."""
    for module in ("core.status", "web.task_status"):
        monkeypatch.setattr(f"streamserver.{module}.time", SimpleNamespace(monotonic=lambda: NOW, sleep=time.sleep))


def _post(client: FlaskClient, path: str, content: Any, **options: Any) -> Any:
    data = content if isinstance(content, bytes | str) else json.dumps(content)
    response = client.post(path, data=data, **options)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    return response.json


@pytest.mark.parametrize("sent", FOUR_BODIES.values(), ids=FOUR_BODIES.keys())
def test_the_bodies_of_application_web_are_accepted_and_listed(client: FlaskClient, sent: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json;charset=UTF-8"}
    assert _post(client, "/task/create", sent, headers=headers) == SUCCESS
    (entry,) = _post(client, "/task/list", {})["Result"]
    assert (entry["TaskID"], entry["Status"], entry["State"]) == ("t1", 1, "PENDING")


def test_what_is_stored_is_the_canonical_request(client: FlaskClient, store: TaskStore) -> None:
    _post(client, "/task/create", edited_body())
    record = store.find("t1")
    assert record
    assert record.src_id == "cam1"
    assert record.request["Algorithm"][0]["threshold"] == 50.0
    assert record.request["Algorithm"][0]["AlarmInterval"] == 0


@pytest.mark.parametrize(("sent", "message"), NOT_JSON, ids=lambda value: str(value)[:40])
def test_bodies_that_are_no_json_change_nothing(
    client: FlaskClient, store: TaskStore, sent: bytes, message: str
) -> None:
    _check_refused(client, store, sent, message)


ELSEWHERE = (ADDRESS, (*ALGORITHM, "Type"))
"""Paths whose messages depend on the server; tests of their own are below."""


@pytest.mark.parametrize(
    ("path", "value", "message"), [row for row in WRONG if row[0] not in ELSEWHERE], ids=lambda value: str(value)[:40]
)
def test_hostile_values_change_nothing(
    client: FlaskClient, store: TaskStore, path: tuple[str | int, ...], value: Any, message: str
) -> None:
    _check_refused(client, store, json.dumps(edited(path, value)).encode(), message)


def _check_refused(client: FlaskClient, store: TaskStore, sent: bytes, message: str) -> None:
    reply = _post(client, "/task/create", sent)
    assert message in reply["Msg"]
    assert reply["Code"] in (4000, 4001, 4002)
    assert set(reply) == {"Code", "Msg"}
    assert store.all() == []
    assert store.version() == 0


def test_an_unknown_type_is_told_which_exist(client: FlaskClient) -> None:
    reply = _post(client, "/task/create", body(Algorithm=[{"Type": 99}]))
    assert reply["Code"] == 4002
    assert "this server has: 1 tripwire, 3 yolov5, 6 area_intrusion" in reply["Msg"]


def test_a_file_or_folder_is_looked_for_on_this_server(client: FlaskClient, tmp_path: Path) -> None:
    clip = tmp_path / "片 段.mp4"
    sent = body(InputSrc={"SrcID": "c", "StreamSrc": {"Address": str(clip)}})
    assert "no readable file" in _post(client, "/task/create", sent)["Msg"]
    clip.write_bytes(b"")
    assert _post(client, "/task/create", sent) == SUCCESS
    sent = body(TaskID="pictures", InputSrc={"SrcID": "c", "StreamSrc": {"Address": str(tmp_path)}})
    assert _post(client, "/task/create", sent) == SUCCESS
    for address in (f"{tmp_path}/absent", f"/{'x' * 3000}", "file:///a%00b"):
        sent = body(TaskID="t2", InputSrc={"SrcID": "c", "StreamSrc": {"Address": address}})
        assert "no readable file" in _post(client, "/task/create", sent)["Msg"]


def test_what_the_dry_run_refuses_is_not_stored(settings: Settings, store: TaskStore) -> None:
    def refuse(request: dict[str, Any], settings: Settings) -> None:
        raise GraphError(f"graph of {request['Algorithm'][0]['Type']} is broken", cure="mend it")

    app = create_app(settings, store=store, check=refuse, known_types=lambda: TYPES)
    reply = _post(app.test_client(), "/task/create", NEW_TASK_BODY)
    assert reply == {"Code": 5002, "Msg": "graph of 1 is broken; mend it"}
    assert store.all() == []


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_the_content_type_does_not_matter(client: FlaskClient, content_type: str | None) -> None:
    assert _post(client, "/task/create", NEW_TASK_BODY, content_type=content_type) == SUCCESS
    assert _post(client, "/task/query", {"TaskID": "t1"}, content_type=content_type)["Code"] == 0


def test_the_same_create_again_restarts_nothing_and_an_edit_does(client: FlaskClient, store: TaskStore) -> None:
    assert _post(client, "/task/create", NEW_TASK_BODY) == SUCCESS
    (first,) = store.all()
    assert _post(client, "/task/create", NEW_TASK_BODY) == SUCCESS
    assert store.all() == [first]
    assert _post(client, "/task/create", edited_body()) == SUCCESS
    (second,) = store.list()
    assert second.key != first.key
    assert len(store.all()) == 2


@pytest.mark.parametrize("task_id", ["车道 1", "a/b", "../../etc", "x y", "?&=#", 12])
def test_a_task_id_is_a_name_everywhere(client: FlaskClient, task_id: str | int) -> None:
    assert _post(client, "/task/create", body(TaskID=task_id)) == SUCCESS
    assert _post(client, "/task/query", {"TaskID": task_id})["Result"]["TaskID"] == str(task_id)
    assert client.get("/task/query", query_string={"TaskID": task_id}).json["Code"] == 0  # type: ignore[index]
    assert _post(client, "/task/list", {})["Result"][0]["TaskID"] == str(task_id)
    assert _post(client, "/task/delete", {"TaskID": task_id}) == SUCCESS
    assert _post(client, "/task/list", {})["Result"] == []


def test_list_and_query_also_answer_get(client: FlaskClient) -> None:
    _post(client, "/task/create", NEW_TASK_BODY)
    assert client.get("/task/list").json == _post(client, "/task/list", {})
    assert client.get("/task/query?TaskID=t1").json == _post(client, "/task/query", {"TaskID": "t1"})
    reply = client.get("/task/query").json
    assert reply and reply["Code"] == 4000
    assert "TaskID is missing" in reply["Msg"]


@pytest.mark.parametrize("ignored", [b"", b"{}", b"not json", b"\xff", b"[]"])
def test_list_ignores_its_body(client: FlaskClient, ignored: bytes) -> None:
    assert _post(client, "/task/list", ignored) == SUCCESS | {"Result": []}


def test_query_of_what_is_unknown_is_code_1(client: FlaskClient) -> None:
    assert _post(client, "/task/query", {"TaskID": "x"}) == {
        "Code": 1,
        "Msg": "no task has the TaskID 'x'; see /task/list",
    }


def test_the_secrets_of_a_task_that_is_older_than_the_web_process_are_known(
    client: FlaskClient, store: TaskStore
) -> None:
    source = {"SrcID": "c", "StreamSrc": {"Address": "rtsp://u:from-before-8@h/1"}}
    record, _ = store.create("old", "c", body(InputSrc=source), "hash")
    store.set_state(record.key, TaskState.FAILED, reason="the camera said from-before-8")
    reply = _post(client, "/task/query", {"TaskID": "old"})
    assert reply["Result"]["Reason"] == "the camera said ***"
    assert "from-before-8" not in json.dumps([reply, _post(client, "/task/list", {})])


def test_query_of_a_task_that_ended_is_code_1_with_words_and_result(client: FlaskClient, store: TaskStore) -> None:
    _post(client, "/task/create", NEW_TASK_BODY)
    store.set_state(store.list()[0].key, TaskState.FAILED, reason="rtsp://u:secret@h refused us")
    reply = _post(client, "/task/query", {"TaskID": "t1"})
    assert reply["Code"] == 1
    assert "task 't1' is FAILED since 20" in reply["Msg"]
    assert "rtsp://***@h refused us; create it to run it again" in reply["Msg"]
    assert "secret" not in json.dumps(reply)
    assert (reply["Result"]["Status"], reply["Result"]["State"]) == (0, "FAILED")
    assert _post(client, "/task/list", {})["Result"] == [reply["Result"]]


def test_delete_works_once_and_by_source_when_only_one_task_has_it(client: FlaskClient, store: TaskStore) -> None:
    _post(client, "/task/create", NEW_TASK_BODY)
    assert _post(client, "/task/delete", {"TaskID": "cam1"}) == SUCCESS
    assert store.list() == []
    reply = _post(client, "/task/delete", {"TaskID": "cam1"})
    assert reply["Code"] == -1
    assert "no task has the TaskID or the SrcID 'cam1'" in reply["Msg"]


def test_delete_by_a_source_of_several_tasks_names_them_and_deletes_none(client: FlaskClient, store: TaskStore) -> None:
    for name in ("a", "车"):
        _post(client, "/task/create", body(TaskID=name))
    reply = _post(client, "/task/delete", {"TaskID": "cam1"})
    assert reply["Code"] == -1
    assert "delete by TaskID: 'a', '车'" in reply["Msg"]
    assert len(store.list()) == 2


def test_a_task_id_goes_before_a_source_of_the_same_name(client: FlaskClient, store: TaskStore) -> None:
    _post(client, "/task/create", body(TaskID="cam1"))
    _post(client, "/task/create", body(TaskID="other"))
    assert _post(client, "/task/delete", {"TaskID": "cam1"}) == SUCCESS
    assert [record.task_id for record in store.list()] == ["other"]


@pytest.mark.parametrize("state", TaskState)
def test_delete_works_in_every_state(client: FlaskClient, store: TaskStore, state: TaskState) -> None:
    _post(client, "/task/create", NEW_TASK_BODY)
    store.set_state(store.list()[0].key, state)
    assert _post(client, "/task/delete", {"TaskID": "t1"}) == SUCCESS
    assert store.list() == []


def test_a_running_task_says_what_its_processes_say(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    key = _running(client, store, settings)
    entry = _post(client, "/task/query", {"TaskID": "t1"})["Result"]
    assert entry.pop("Since").endswith("Z")
    assert entry.pop("FrameAge") == 0.2
    assert entry == {
        "TaskID": "t1",
        "Status": 1,
        "State": "RUNNING",
        "Reason": "",
        "Source": "streaming",
        "SourceSince": "2026-11-20T10:41:05Z",
        "Reconnects": 4,
        "Stalls": 3,
        "BrokenPackets": 12,
        "Stream": "h264 64x48 25 fps",
        "Gate": "",
        "Fps": 8.33,
        "Frames": 2500,
        "Dropped": 7,
        "Events": 5,
        "Pending": 1,
        "Delivered": 3,
        "Dead": 0,
        "Lost": 1,
        "Restarts": 2,
        "Revision": 3,
        "Detector": "motion",
        "Algorithms": [
            {
                "Type": 1,
                "Name": "tripwire",
                "Port": 10001,
                "Path": "/flask_test/0",
                "Events": 3,
                "Totals": None,
                "LeftOut": "",
            },
            {
                "Type": 6,
                "Name": "area_intrusion",
                "Port": 10001,
                "Path": "/flask_test/1",
                "Events": 2,
                "Totals": {"In": 2},
                "LeftOut": "everybody, outside the schedule",
            },
        ],
    }
    assert key not in json.dumps(entry)


@pytest.mark.parametrize(
    ("state", "source"), [(TaskState.STARTING, ""), (TaskState.BACKOFF, ""), (TaskState.FINISHED, "ended")]
)
def test_source_and_rate_are_only_told_while_running(
    client: FlaskClient, store: TaskStore, settings: Settings, state: TaskState, source: str
) -> None:
    store.set_state(_running(client, store, settings), state)
    entry = _post(client, "/task/list", {})["Result"][0]
    assert (entry["Source"], entry["Fps"], entry["Frames"], entry["Events"]) == (source, 0.0, 2500, 5)
    assert (entry["SourceSince"], entry["FrameAge"], entry["Reason"]) == ("", None, "")
    assert (entry["Reconnects"], entry["Stalls"], entry["BrokenPackets"]) == (4, 3, 12)


def test_the_frames_of_an_engine_that_writes_no_status_are_those_it_posted(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    key = _running(client, store, settings)
    folder = settings.state_path / "tasks" / key
    (folder / ENGINE_FILE).unlink()
    ClientStatus(run=key, received=41).write(folder / CLIENT_FILE)
    assert _post(client, "/task/list", {})["Result"][0]["Frames"] == 41


@pytest.mark.parametrize("beat", [0.0, NOW + 1e6], ids=["long ago", "before a reboot"])
def test_a_stale_status_tells_no_source(client: FlaskClient, store: TaskStore, settings: Settings, beat: float) -> None:
    key = _running(client, store, settings)
    _rewrite(settings, key, beat=beat, source="stalled", source_reason="pictures stay away")
    entry = _post(client, "/task/list", {})["Result"][0]
    assert (entry["Source"], entry["Fps"], entry["Frames"]) == ("", 0.0, 2500)
    assert (entry["SourceSince"], entry["FrameAge"], entry["Reconnects"]) == ("", None, 4)
    assert "pictures stay away" not in entry["Reason"], "a reason from before is none of now"


def test_an_engine_that_falls_silent_is_told_with_the_time(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    key = _running(client, store, settings)
    _rewrite(settings, key, beat=NOW - 8)
    entry = _post(client, "/task/list", {})["Result"][0]
    assert entry["Reason"] == "the engine has given no sign for 8 s"
    store.set_state(key, TaskState.BACKOFF, reason="the engine hung")
    assert _post(client, "/task/list", {})["Result"][0]["Reason"] == "the engine hung"


def test_the_age_of_a_picture_grows_between_two_beats(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    key = _running(client, store, settings)
    _rewrite(settings, key, beat=NOW - 0.4, frame_age_s=70.0, source="reconnecting", source_reason="away")
    entry = _post(client, "/task/list", {})["Result"][0]
    assert (entry["Source"], entry["Reason"]) == ("reconnecting", "away")
    assert entry["FrameAge"] == 70.4
    _rewrite(settings, key, beat=NOW, frame_age_s=-1.0, source="connecting", source_since=0.0)
    entry = _post(client, "/task/list", {})["Result"][0]
    assert (entry["Source"], entry["SourceSince"], entry["FrameAge"]) == ("connecting", "", None)


def test_the_status_of_another_run_is_not_ours(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    key = _running(client, store, settings)
    for name in (ENGINE_FILE, CLIENT_FILE):
        file = settings.state_path / "tasks" / key / name
        file.write_text(file.read_text().replace(key, "f" * 16))
    entry = _post(client, "/task/list", {})["Result"][0]
    assert (entry["Source"], entry["Frames"], entry["Events"], entry["Detector"]) == ("", 0, 0, "")


def test_a_running_task_tells_why_its_source_or_its_reports_fail(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    key = _running(client, store, settings)
    folder = settings.state_path / "tasks" / key
    ClientStatus(run=key, pending=1, last_error="http://u:secret@h/ refused").write(folder / CLIENT_FILE)
    assert _post(client, "/task/list", {})["Result"][0]["Reason"] == "1 alarm waits: http://***@h/ refused"
    ClientStatus(run=key, pending=3, last_error="http://u:secret@h/ refused").write(folder / CLIENT_FILE)
    assert _post(client, "/task/list", {})["Result"][0]["Reason"] == "3 alarms wait: http://***@h/ refused"
    EngineStatus(run=key, source="reconnecting", source_reason="no route to host").write(folder / ENGINE_FILE)
    entry = _post(client, "/task/list", {})["Result"][0]
    expected = "no route to host; 3 alarms wait: http://***@h/ refused"
    assert (entry["Source"], entry["Reason"]) == ("reconnecting", expected)


def test_an_algorithm_that_fails_is_told_while_the_task_runs_and_when_it_has_ended(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    """Else a file that ended without an alarm looks as if nobody had been there."""
    key = _running(client, store, settings)
    failing = "tripwire: 93 frames failed, the last with: ZeroDivisionError (samples/tripwire/tripwire.py:35)"
    ClientStatus(run=key, last_error=failing).write(settings.state_path / "tasks" / key / CLIENT_FILE)
    assert _post(client, "/task/list", {})["Result"][0]["Reason"] == failing
    store.set_state(key, TaskState.FINISHED, reason="the source has ended")
    assert _post(client, "/task/list", {})["Result"][0]["Reason"] == f"the source has ended; {failing}"
    assert failing in _post(client, "/task/query", {"TaskID": "t1"})["Msg"]


def _running(client: FlaskClient, store: TaskStore, settings: Settings) -> str:
    _post(client, "/task/create", body(Algorithm=[{"Type": 1}, {"Type": 6}]))
    key = store.list()[0].key
    store.set_state(key, TaskState.RUNNING, restarts=2, port=10001)
    folder = settings.state_path / "tasks" / key
    (folder / "run").mkdir(parents=True)
    EngineStatus(
        run=key,
        pid=1,
        source="streaming",
        source_since=1795171265.9,
        frame_age_s=0.2,
        reconnects=4,
        stalls=3,
        broken=12,
        stream="h264 64x48 25 fps",
        fps=8.3333,
        frames=2500,
        dropped=7,
        detector="motion",
        left_out={"1": "everybody, outside the schedule"},
        revision=4,
    ).write(folder / ENGINE_FILE)
    said = ClientStatus(
        run=key, events=5, pending=1, delivered=3, lost=1, per_algorithm=[3, 2], totals=[None, {"In": 2}], revision=3
    )
    said.write(folder / CLIENT_FILE)
    return key


def _rewrite(settings: Settings, key: str, **changes: Any) -> None:
    """What the engine said, with some of it changed."""
    file = settings.state_path / "tasks" / key / ENGINE_FILE
    write_json(file, json.loads(file.read_text()) | changes)


def test_a_burst_of_creates_queries_and_deletes_loses_nothing(app: Flask, store: TaskStore) -> None:
    def live(number: int) -> list[int]:
        client = app.test_client()
        name = {"TaskID": f"t{number}"}
        replies = [
            _post(client, "/task/create", body(**name)),
            _post(client, "/task/query", name),
            _post(client, "/task/list", {}),
        ]
        if number % 2:
            replies.append(_post(client, "/task/delete", name))
        return [reply["Code"] for reply in replies]

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(live, range(20)))
    assert {code for row in codes for code in row} == {0}
    assert {record.task_id for record in store.list()} == {f"t{number}" for number in range(0, 20, 2)}


def test_every_example_of_the_manual_is_a_request_that_parses() -> None:
    for sent in FOUR_BODIES.values():
        request = parse_create(
            json.dumps(sent).encode(),
            known_types=TYPES,
            max_bytes=1_000_000,
            events_kept_locally=False,
            source_exists=lambda path: False,
        )
        assert canonical(request)["TaskID"] == "t1"


@pytest.mark.parametrize("path", ["/task/create", "/task/delete", "/task/query"])
def test_what_a_page_of_another_site_posts_changes_nothing(path: str, client: FlaskClient, store: TaskStore) -> None:
    sent = body()
    _post(client, "/task/create", sent)
    before = store.version()
    foreign = {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    changed = sent | {"TaskID": "t2" if path == "/task/create" else "t1"}
    response = client.post(path, data=json.dumps(changed), headers=foreign)
    reply = response.get_json()
    assert (response.status_code, reply["Code"]) == (403, 4030)
    assert "a web page of another site sent this; send it from a program" in reply["Msg"]
    assert store.version() == before


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_own_pages_and_programs_are_answered(site: str | None, client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": site} if site else {}
    assert _post(client, "/task/create", NEW_TASK_BODY, headers=headers) == SUCCESS


def test_a_link_on_another_site_may_show_the_list(client: FlaskClient) -> None:
    assert client.get("/task/list", headers={"Sec-Fetch-Site": "cross-site"}).json == SUCCESS | {"Result": []}


def test_an_algorithm_that_hangs_does_not_stop_the_creates_of_others(
    settings: Settings, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.web.tasks._TURN_S", 0.05)
    hanging, released = threading.Event(), threading.Event()

    def check(request: dict[str, Any], settings: Settings) -> None:
        if request["TaskID"] == "hangs":
            hanging.set()
            assert released.wait(60)

    client = create_app(settings, store=store, check=check, known_types=lambda: TYPES).test_client
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(lambda: _post(client(), "/task/create", body(TaskID="hangs")))
        assert hanging.wait(60)
        assert _post(client(), "/task/create", body(TaskID="other")) == SUCCESS
        released.set()
        assert stuck.result() == SUCCESS
