"""``/metrics``: what Prometheus reads, whatever tasks are called, and that it costs little."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from streamserver import __version__
from streamserver.core.counters import DELAY_BOUNDS_S, INFERENCE_BOUNDS_S, TALLY_FILE
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.store import TaskStore
from streamserver.web import create_app
from streamserver.web.metrics import Page, RequestTimes
from tests.servers.packages import needs
from tests.web.conftest import TYPES, body

NAMES = {
    "streamserver_tasks": {"state"},
    "streamserver_process_restarts_total": {"role", "reason"},
    "streamserver_frames_total": {"task", "result"},
    "streamserver_stream_reconnects_total": {"task", "reason"},
    "streamserver_last_frame_age_seconds": {"task"},
    "streamserver_inference_duration_seconds_count": {"model", "device"},
    "streamserver_alarms_total": {"task", "algorithm"},
    "streamserver_delivery_attempts_total": {"outcome"},
    "streamserver_delivery_delay_seconds_count": set(),
    "streamserver_outbox_pending": set(),
    "streamserver_outbox_oldest_age_seconds": set(),
    "streamserver_alarms_dropped_total": {"reason"},
    "streamserver_build_info": {"version", "python", "onnxruntime"},
    "streamserver_http_request_duration_seconds_count": {"endpoint", "method", "status"},
    "streamserver_ready": {"check"},
}
ODD = ["t1", 'quote " back\\slash \\n', "任务/é 😀", '{task="x"} 1\u2028# HELP', "  blanks  ", "\\ud800", "x" * 256]
ALERTS = PROJECT_DIR / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = PROJECT_DIR / "deploy" / "grafana" / "stream-server.json"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def write_sums(state: Path, task_ids: list[str], **more: Any) -> None:
    """The supervisor's file, as it is after some work."""
    told = [{"processed": 10, "dropped": 2}, {"lost": 1}, {"1": 4, "9": 1}, 1000.0]
    content = {
        "restarts": {"engine crashed": 2},
        "attempts": {"delivered": 5},
        "dropped": {"full": 1},
        "delays": [1] * (len(DELAY_BOUNDS_S) + 1) + [99.0],
        "inference": {"yolo nano.onnx\tcuda:0": [2] * (len(INFERENCE_BOUNDS_S) + 1) + [4.5]},
        "pending": 3,
        "oldest_age_s": 12.5,
        "tasks": dict.fromkeys(task_ids, told),
    }
    file = state / TALLY_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content | more))


def samples_of(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} comes twice, for which Prometheus throws everything away"
            found[key] = sample.value
    return found


def scrape(client: FlaskClient) -> Samples:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return samples_of(response.get_data(as_text=True))


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"streamserver_{name}", frozenset(labels.items())]


def test_every_name_is_there_with_its_labels(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    store.create("t1", "cam", body(TaskID="t1"), "hash")
    write_sums(settings.state_path, ["t1", "a deleted one"])
    client.get("/livez")
    found = scrape(client)
    for name, labels in NAMES.items():
        assert {frozenset(dict(key[1])) for key in found if key[0] == name} == {frozenset(labels)}, name
    assert value(found, "tasks", state="PENDING") == 1
    assert value(found, "frames_total", task="t1", result="processed") == 10
    assert value(found, "frames_total", task="t1", result="broken") == 0, "a counter that is not there cannot grow"
    assert value(found, "alarms_total", task="t1", algorithm="tripwire") == 4
    assert value(found, "alarms_total", task="t1", algorithm="9") == 1, "an algorithm that is not installed any more"
    assert value(found, "stream_reconnects_total", task="t1", reason="lost") == 1
    assert value(found, "last_frame_age_seconds", task="t1") > 1e6
    assert value(found, "process_restarts_total", role="engine", reason="crashed") == 2
    assert value(found, "inference_duration_seconds_sum", model="yolo nano.onnx", device="cuda:0") == 4.5
    assert value(found, "delivery_delay_seconds_bucket", le="+Inf") == len(DELAY_BOUNDS_S) + 1
    assert (value(found, "outbox_pending"), value(found, "outbox_oldest_age_seconds")) == (3, 12.5)
    assert value(found, "alarms_dropped_total", reason="full") == 1
    build = next(dict(labels) for name, labels in found if name == "streamserver_build_info")
    assert build["version"] == __version__
    assert build["onnxruntime"]
    assert not [labels for _, labels in found if ("task", "a deleted one") in labels]


def test_before_the_supervisor_has_written_anything_there_are_noughts(client: FlaskClient) -> None:
    found = scrape(client)
    assert value(found, "outbox_pending") == value(found, "delivery_delay_seconds_count") == 0
    assert value(found, "ready", check="supervisor") == 0
    assert value(found, "ready", check="store") == 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"tasks": [], "delays": "x", "inference": {"m": [1]}, "dropped": 1, "pending": "y"}'],
    ids=["empty", "list", "wrong kinds"],
)
def test_sums_that_make_no_sense_count_as_none(content: str, client: FlaskClient, settings: Settings) -> None:
    write_sums(settings.state_path, [])
    (settings.state_path / TALLY_FILE).write_text(content)
    assert value(scrape(client), "outbox_pending") == 0


def test_odd_names_of_tasks_stay_what_they_are(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    for name in ODD:
        store.create(name, "cam", body(TaskID=name), "hash")
    write_sums(settings.state_path, ODD)
    found = scrape(client)
    told = {dict(labels)["task"] for name, labels in found if name == "streamserver_frames_total"}
    assert told == set(ODD)


def test_two_numbers_of_one_algorithm_are_one_series(settings: Settings, store: TaskStore) -> None:
    app = create_app(settings, store=store, check=lambda *_: None, known_types=lambda: {**TYPES, 9: "tripwire"})
    store.create("t1", "cam", body(TaskID="t1"), "hash")
    write_sums(settings.state_path, ["t1"])
    assert value(scrape(app.test_client()), "alarms_total", task="t1", algorithm="tripwire") == 5


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/livez", {"endpoint": "/livez", "method": "GET", "status": "200"}),
        ("GET", "/no/such?page", {"endpoint": "other", "method": "GET", "status": "404"}),
        ("PURGE", "/livez", {"endpoint": "other", "method": "other", "status": "405"}),
        ("POST", "/task/query", {"endpoint": "/task/query", "method": "POST", "status": "200"}),
    ],
    ids=["route", "no route", "strange method", "task"],
)
def test_requests_are_counted_by_route_and_never_by_what_the_caller_wrote(
    method: str, path: str, labels: dict[str, str], client: FlaskClient
) -> None:
    client.open(path, method=method)
    assert value(scrape(client), "http_request_duration_seconds_count", **labels) == 1


def test_whoever_asks_again_within_a_second_gets_the_same(app: Flask, store: TaskStore) -> None:
    at_hand = app.extensions["streamserver"]
    now = [0.0]
    page = Page(clock=lambda: now[0])
    first = page.text(at_hand)
    store.create("t1", "cam", body(TaskID="t1"), "hash")
    now[0] = 0.9
    assert page.text(at_hand) == first
    now[0] = 1.1
    assert b'streamserver_tasks{state="PENDING"} 1.0' in page.text(at_hand)


def test_methods_and_statuses_are_of_closed_sets() -> None:
    times = RequestTimes()
    for number in range(50):
        times.observe("/livez", f"M{number}", 1000 + number, 0.1)
    assert [labels for labels, _ in times.told()] == [("/livez", "other", "0")]


def test_promtool_accepts_it(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    needs("promtool")
    for name in ODD:
        store.create(name, "cam", body(TaskID=name), "hash")
    write_sums(settings.state_path, ODD)
    client.get("/livez")
    page = client.get("/metrics").get_data()
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    needs("promtool")
    for arguments in (["rules", str(ALERTS)], ["config", str(ALERTS.with_name("prometheus.yml"))]):
        done = subprocess.run(["promtool", "check", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    needs("promtool")
    shutil.copy(ALERTS, tmp_path)
    cases = shutil.copy(PROJECT_DIR / "tests" / "fixtures" / "alerts_test.yml", tmp_path)
    done = subprocess.run(["promtool", "test", "rules", str(cases)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def series_of(client: FlaskClient) -> set[str]:
    return {name for name, _ in scrape(client)}


def test_alerts_and_dashboard_name_only_what_there_is_and_the_dashboard_shows_all(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    needs("promtool")
    store.create("t1", "cam", body(TaskID="t1"), "hash")
    write_sums(settings.state_path, ["t1"])
    client.get("/livez")
    there = series_of(client)
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    dashboard = json.loads(DASHBOARD.read_text())
    assert [one["name"] for one in dashboard["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = [{word for word in there if _names(word, text)} for text in drawn]
    assert all(named), "each panel draws something that there is"
    every = " ".join([*drawn, *(rule["expr"] for rule in group["rules"])])
    for word in set(_words(every)):
        assert word in there, word
    families = {name.removesuffix("_count") for name in NAMES}
    shown = {word.removesuffix("_bucket").removesuffix("_count") for word in set().union(*named)}
    assert families <= shown, families - shown
    sources = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert sources == {"${datasource}"}


def test_every_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    text = (PROJECT_DIR / "docs" / "operations.md").read_text()
    headings = {line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")}
    for rule in group["rules"]:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (file, anchor) == ("docs/operations.md", rule["alert"].lower())
        assert anchor in headings, f"{file} lacks the heading {rule['alert']}"


def _words(text: str) -> list[str]:
    cut = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in text)
    return [word for word in cut.split() if word.startswith("streamserver_")]


def _names(word: str, text: str) -> bool:
    return word in _words(text)
