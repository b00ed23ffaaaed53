"""Dead letters over HTTP, with real outboxes behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from streamserver.core.leftovers import Drained, mark_drained, read_drained
from streamserver.core.messages import canonical, parse_create, spec_hash
from streamserver.core.settings import Settings
from streamserver.core.status import CLIENT_FILE, ClientStatus
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.store import TaskStore
from tests.web.conftest import TYPES, body

NOBODY = "01900000-0000-7000-8000-000000000000"


def make_task(settings: Settings, store: TaskStore, task_id: str, **changes: Any) -> Path:
    """A task in the store, with its folder."""
    sent = json.dumps(body(TaskID=task_id, **changes)).encode()
    request = parse_create(
        sent, known_types=TYPES, max_bytes=len(sent), events_kept_locally=False, source_exists=lambda path: True
    )
    content = canonical(request)
    record, _ = store.create(task_id, "cam1", content, spec_hash(content))
    folder = settings.state_path / "tasks" / record.key
    (folder / "run").mkdir(parents=True)
    return folder


def open_box(folder: Path) -> Outbox:
    return Outbox(folder / "outbox.sqlite", limits=Limits())


def bury(folder: Path, count: int, *, reason: str = "answered 400", algorithm: int = 0) -> list[str]:
    """Adds alarms that nobody wants; their ids."""
    box = open_box(folder)
    ids = []
    for number in range(count):
        box.add([NewEvent(algorithm=algorithm, body=b'[{"n": %d}]' % number)])
        [event] = box.claim(1)
        box.bury(event.id, reason)
        ids.append(event.id)
    box.close()
    return ids


def counters(folder: Path) -> tuple[int, int]:
    """How many wait and how many are dead."""
    box = open_box(folder)
    found = box.counters
    box.close()
    return found.pending, found.dead


def ask(client: FlaskClient, path: str, content: Any) -> dict[str, Any]:
    response = client.post(path, json=content)
    assert response.status_code == 200
    reply = response.get_json()
    assert isinstance(reply, dict)
    return reply


def test_a_dead_letter_is_listed_with_what_is_known_of_it(
    client: FlaskClient, settings: Settings, store: TaskStore
) -> None:
    folder = make_task(settings, store, "任务 1")
    [alarm_id] = bury(folder, 1, reason="http://127.0.0.1:8089/api/upload: answered code -1")
    reply = ask(client, "/alarm/dead", {})
    [row] = reply.pop("Result")
    assert reply == {"Code": 0, "Msg": "success", "More": False, "Problems": []}
    created = row.pop("Created")
    assert len(created) == 20 and created.endswith("Z")
    assert row == {
        "AlarmID": alarm_id,
        "TaskID": "任务 1",
        "Type": 1,
        "Attempts": 1,
        "Reason": "http://127.0.0.1:8089/api/upload: answered code -1",
        "Bytes": 10,
    }
    assert client.get("/alarm/dead").get_json()["Result"][0]["AlarmID"] == alarm_id
    assert client.post("/alarm/dead").get_json()["Result"][0]["AlarmID"] == alarm_id


def test_pages_walk_through_all_tasks_by_id_each_letter_once(
    client: FlaskClient, settings: Settings, store: TaskStore
) -> None:
    folders = [make_task(settings, store, f"t{n}") for n in range(3)]
    expected = sorted(alarm_id for _ in range(4) for folder in folders for alarm_id in bury(folder, 1))
    seen: list[str] = []
    more = True
    while more:
        after = f"&After={seen[-1]}" if seen else ""
        page = client.get(f"/alarm/dead?Limit=5{after}").get_json()
        seen += [row["AlarmID"] for row in page["Result"]]
        more = page["More"]
        assert len(page["Result"]) == (5 if more else 2)
    assert seen == expected
    own = ask(client, "/alarm/dead", {"TaskID": "t1"})["Result"]
    assert len(own) == 4 and {row["TaskID"] for row in own} == {"t1"}
    assert ask(client, "/alarm/dead", {"Limit": 12})["More"] is False


def test_letters_of_a_deleted_task_are_listed_and_replayed(
    client: FlaskClient, settings: Settings, store: TaskStore
) -> None:
    folder = make_task(settings, store, "t1")
    [alarm_id] = bury(folder, 1)
    mark_drained(folder, Drained(dead=1))
    store.delete("t1")
    assert [row["AlarmID"] for row in ask(client, "/alarm/dead", {"TaskID": "t1"})["Result"]] == [alarm_id]
    assert ask(client, "/alarm/replay", {"TaskID": "t1", "AlarmIDs": [alarm_id]})["Replayed"] == 1
    assert read_drained(folder) is None
    assert counters(folder) == (1, 0)


def test_a_replay_takes_those_named_and_leaves_the_others(
    client: FlaskClient, settings: Settings, store: TaskStore
) -> None:
    first, second = make_task(settings, store, "t1"), make_task(settings, store, "t2")
    ids, others = bury(first, 3), bury(second, 2)
    for folder in (first, second):
        mark_drained(folder, Drained(dead=2))
    reply = ask(client, "/alarm/replay", {"TaskID": "t1", "AlarmIDs": [ids[0], ids[2], others[0], NOBODY]})
    assert reply == {"Code": 0, "Msg": "success", "Replayed": 2, "Problems": []}
    assert (counters(first), counters(second)) == ((2, 1), (0, 2))
    assert (read_drained(first), read_drained(second)) == (None, Drained(dead=2))
    assert ask(client, "/alarm/replay", {"TaskID": "t2", "All": True})["Replayed"] == 2
    assert ask(client, "/alarm/replay", {"All": True})["Replayed"] == 1
    assert ask(client, "/alarm/dead", {})["Result"] == []
    assert ask(client, "/alarm/replay", {"All": True})["Replayed"] == 0


def test_whoever_has_the_outbox_open_sees_the_replay(client: FlaskClient, settings: Settings, store: TaskStore) -> None:
    folder = make_task(settings, store, "t1")
    [alarm_id] = bury(folder, 1)
    box = open_box(folder)
    try:
        assert not box.maintain() and box.claim(1) == []
        assert ask(client, "/alarm/replay", {"AlarmIDs": [alarm_id]})["Replayed"] == 1
        assert box.maintain()
        assert [event.id for event in box.claim(1)] == [alarm_id]
    finally:
        box.close()


@pytest.mark.parametrize("path", ["/alarm/dead", "/alarm/replay"])
def test_a_task_that_nobody_knows_is_told(client: FlaskClient, path: str) -> None:
    reply = ask(client, path, {"TaskID": "t9", **({"All": True} if path.endswith("replay") else {})})
    assert (reply["Code"], reply["Msg"]) == (-1, "no task has the TaskID 't9', nor has a deleted one dead letters")


def test_letters_that_nobody_has_are_told(client: FlaskClient, settings: Settings, store: TaskStore) -> None:
    folder = make_task(settings, store, "t1")
    mark_drained(folder, Drained())
    reply = ask(client, "/alarm/replay", {"TaskID": "t1", "AlarmIDs": [NOBODY]})
    assert reply == {"Code": -1, "Msg": "none of these alarms is a dead letter of task 't1'; see /alarm/dead"}
    assert read_drained(folder) == Drained()
    assert not (folder / "outbox.sqlite").exists()


def test_an_outbox_that_cannot_be_read_hides_no_other(
    client: FlaskClient, settings: Settings, store: TaskStore
) -> None:
    good, bad = make_task(settings, store, "good"), make_task(settings, store, "bad")
    [alarm_id] = bury(good, 1)
    (bad / "outbox.sqlite").write_bytes(b"garbage " * 1000)
    reply = ask(client, "/alarm/dead", {})
    assert [row["AlarmID"] for row in reply["Result"]] == [alarm_id]
    assert reply["Code"] == 0 and "'bad'" in reply["Msg"] and "see Problems" in reply["Msg"]
    [problem] = reply["Problems"]
    assert problem["TaskID"] == "bad" and "outbox.sqlite" in problem["Reason"]
    reply = ask(client, "/alarm/replay", {"All": True})
    assert (reply["Replayed"], [one["TaskID"] for one in reply["Problems"]]) == (1, ["bad"])
    reply = ask(client, "/alarm/replay", {"TaskID": "bad", "All": True})
    assert set(reply) == {"Code", "Msg"} and reply["Code"] == 5008 and "task 'bad'" in reply["Msg"]


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("/alarm/dead", {"Limit": 0}, "$.Limit: expected an integer from 1 to 1000, got 0"),
        ("/alarm/dead", {"Limit": 1001}, "$.Limit: expected an integer from 1 to 1000, got 1001"),
        ("/alarm/dead", {"Limit": "5"}, '$.Limit: expected an integer from 1 to 1000, got "5"'),
        ("/alarm/dead", {"TaskID": ""}, "$.TaskID: "),
        ("/alarm/dead", {"After": 7}, "$.After: "),
        ("/alarm/dead", [], "$: expected an object, got []"),
        ("/alarm/replay", {}, "$.AlarmIDs: no alarm is named"),
        ("/alarm/replay", {"TaskID": "t1"}, "$.AlarmIDs: no alarm is named"),
        ("/alarm/replay", {"AlarmIDs": []}, "$.AlarmIDs: no alarm is named"),
        ("/alarm/replay", {"AlarmIDs": "x"}, "$.AlarmIDs: "),
        ("/alarm/replay", {"AlarmIDs": [1]}, "$.AlarmIDs[0]: "),
        ("/alarm/replay", {"AlarmIDs": ["x" * 65]}, "$.AlarmIDs[0]: "),
        ("/alarm/replay", {"AlarmIDs": ["x"] * 1001}, "$.AlarmIDs: "),
        ("/alarm/replay", {"All": 1}, "$.All: "),
        ("/alarm/replay", {"All": True, "AlarmIDs": ["x"]}, "$.All: All is true and AlarmIDs is not empty"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict | list) else "",
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    client: FlaskClient, path: str, content: Any, problem: str
) -> None:
    reply = ask(client, path, content)
    assert reply["Code"] == 4000
    assert reply["Msg"].startswith(problem), reply["Msg"]


@pytest.mark.parametrize("query", ["Limit=0", "Limit=many", "Limit=", "TaskID=", "After=%00"])
def test_a_query_in_the_address_is_as_strict(client: FlaskClient, query: str) -> None:
    response = client.get(f"/alarm/dead?{query}")
    assert (response.status_code, response.get_json()["Code"]) == (200, 4000)
    assert response.get_json()["Msg"].startswith(f"$.{query.partition('=')[0]}: ")


def test_null_is_as_good_as_absent(client: FlaskClient) -> None:
    assert ask(client, "/alarm/dead", {"TaskID": None, "Limit": None, "After": None})["Code"] == 0


def test_a_password_in_a_reason_is_not_shown(client: FlaskClient, settings: Settings, store: TaskStore) -> None:
    url = "http://user:hunter22@127.0.0.1:8089/up"
    folder = make_task(settings, store, "t1", Reporting={"ReportUrlList": [url]})
    bury(folder, 1, reason=f"{url}: login hunter22 refused")
    text = client.get("/alarm/dead").get_data(as_text=True)
    assert "hunter22" not in text and "refused" in text


def test_an_entry_counts_what_became_of_its_alarms(client: FlaskClient, settings: Settings, store: TaskStore) -> None:
    folder = make_task(settings, store, "t1")
    status = ClientStatus(run=folder.name, events=20, delivered=9, pending=1, dropped=3, dead=2, lost=5)
    status.write(folder / CLIENT_FILE)
    entry = client.get("/task/query?TaskID=t1").get_json()["Result"]
    assert [entry[key] for key in ("Events", "Delivered", "Pending", "Dead", "Lost")] == [20, 9, 1, 2, 8]
    assert entry["Reason"] == "2 alarms were refused by every receiver; see /alarm/dead"
    status.dead, status.dead_reason = 1, "answered 400"
    status.write(folder / CLIENT_FILE)
    reason = client.get("/task/query?TaskID=t1").get_json()["Result"]["Reason"]
    assert reason == "1 alarm was refused by every receiver: answered 400; see /alarm/dead"
