"""What an update may change, and how it gets to processes at work."""

from __future__ import annotations

import copy
import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamserver import elements
from streamserver.core.errors import GraphError, NotUpdatableError, StreamServerError
from streamserver.core.revision import read_revision
from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.engine.element import Element
from streamserver.graph.changes import CHANGEABLE
from streamserver.store import TaskRecord
from streamserver.supervise.group import Launch
from streamserver.supervise.prepare import prepare
from streamserver.supervise.update import require_updatable
from tests.supervise.house import House, wait_until
from tests.supervise.requests import request
from tests.supervise.test_plan import record_of, stream_tree

SQUARE = [{"X": 0, "Y": 0}, {"X": 300, "Y": 0}, {"X": 300, "Y": 300}, {"X": 0, "Y": 300}]


def changed(old: dict[str, Any], index: int = 0, **keys: Any) -> dict[str, Any]:
    new = copy.deepcopy(old)
    extend = keys.pop("Extend", {})
    new["Algorithm"][index].update(keys)
    new["Algorithm"][index]["Extend"] = {**(new["Algorithm"][index]["Extend"] or {}), **extend}
    return new


@pytest.mark.parametrize("number", [1, 2, 3, 6])
@pytest.mark.parametrize(
    "keys",
    [
        {"threshold": 70.0},
        {"TargetSize": {"MinDetect": 5, "MaxDetect": 700}},
        {"TrackInterval": 3, "AlarmInterval": 7},
        {"Extend": {"Classes": [0]}},
        {"Extend": {"Schedule": {"TimeZone": "Asia/Shanghai", "Windows": [{"From": "22:00", "To": "06:00"}]}}},
        {"Extend": {"anything": "a sample may want"}},
        {"DetectInfos": [{"TripWire": {}, "HotArea": SQUARE}]},
    ],
    ids=lambda keys: "-".join(keys),
)
def test_what_reports_and_when_may_change(number: int, keys: dict[str, Any]) -> None:
    old = request(number)
    if "DetectInfos" in keys:
        keys = {"DetectInfos": [{**old["Algorithm"][0]["DetectInfos"][0], "HotArea": SQUARE}]}
    require_updatable(old, changed(old, **keys), Settings())


def test_report_addresses_and_unknown_keys_may_change() -> None:
    old = request(1, 6)
    require_updatable(old, old | {"Reporting": {"ReportUrlList": []}, "Note": 1}, Settings())


def test_the_part_of_the_picture_that_the_network_sees_may_change() -> None:
    old = request(6)
    with_roi = changed(old, Extend={"DetectRoi": True})
    with_roi["Algorithm"][0]["DetectInfos"][0]["HotArea"] = SQUARE
    require_updatable(old, with_roi, Settings())


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"Type": 6}, "$.Algorithm[1].Type"),
        ({"DetectInterval": 9}, "$.Algorithm[1].DetectInterval"),
        ({"Extend": {"Loop": 2}}, "$.Algorithm[1].Extend.Loop"),
        ({"Extend": {"Fps": 7}}, "$.Algorithm[1].Extend.Fps"),
        ({"Extend": {"Detector": "motion"}}, "$.Algorithm[1].Extend.Detector"),
        ({"Extend": {"Transport": "udp"}}, "$.Algorithm[1].Extend.Transport"),
        ({"Extend": {"Gate": "motion"}}, "$.Algorithm[1].Extend.Gate"),
        ({"Extend": {"GateHold": 5}}, "$.Algorithm[1].Extend.GateHold"),
    ],
    ids=lambda value: str(value),
)
def test_what_needs_another_engine_is_refused_with_its_key(keys: dict[str, Any], path: str) -> None:
    old = request(1, 1)
    with pytest.raises(NotUpdatableError) as caught:
        require_updatable(old, changed(old, 1, **keys), Settings())
    assert str(caught.value) == f"{path}: cannot be changed while the task runs; use /task/create, which starts it anew"


@pytest.mark.parametrize(
    ("new", "path"),
    [
        (request(1, address="rtsp://cam/2"), "$.InputSrc.StreamSrc"),
        (request(1) | {"InputSrc": request(1)["InputSrc"] | {"SrcID": "other"}}, "$.InputSrc.SrcID"),
        (request(1, 6), "$.Algorithm"),
        (request(1) | {"Extend": {"Detector": "motion"}}, "$.Algorithm"),
    ],
    ids=["source", "its name", "number", "an option for the whole task"],
)
def test_another_source_or_number_of_algorithms_is_refused(new: dict[str, Any], path: str) -> None:
    with pytest.raises(NotUpdatableError) as caught:
        require_updatable(request(1), new, Settings())
    assert str(caught.value).startswith(f"{path}: ")


def test_the_default_said_aloud_is_no_change() -> None:
    old = request(1)
    require_updatable(old, changed(old, Extend={"Loop": 1, "Fps": 25, "Transport": "auto", "Gate": "off"}), Settings())


def test_a_sophon_stream_program_takes_only_what_its_client_needs(tmp_path: Path) -> None:
    settings = stream_tree(tmp_path, config_of="tripwire")
    old = request(1)
    require_updatable(old, changed(old, Extend={"anything": 1}) | {"Reporting": {"ReportUrlList": []}}, settings)
    with pytest.raises(NotUpdatableError, match="a sophon-stream program takes nothing over while it runs") as caught:
        require_updatable(old, changed(old, threshold=70.0), settings)
    assert caught.value.path == "$.Algorithm[0]"


def test_what_could_not_run_at_all_is_told_as_for_a_create() -> None:
    old = request(1)
    with pytest.raises(StreamServerError, match="Classes"):
        require_updatable(old, changed(old, Extend={"Classes": ["a unicorn"]}), Settings())


def test_every_changeable_element_can_be_reconfigured() -> None:
    for name in CHANGEABLE:
        assert elements.element_class(name).reconfigure is not Element.reconfigure


def test_files_of_a_task_carry_its_revision_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(request(1))
    folder = tmp_path / "t"
    prepare(record, folder, port=10001, settings=Settings())
    (folder / "elements" / "stale.json").write_text("{}")
    assert read_revision(folder) == 1
    written: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        written.append(f"{target.name} {read_revision(folder)}")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    prepare(dataclasses.replace(record, revision=2), folder, port=10001, settings=Settings())
    assert read_revision(folder) == 2 and not (folder / "elements" / "stale.json").exists()
    assert written[-1] == "revision 0" and {name.split()[1] for name in written} == {"0"}
    assert {"client.json 0", "demo.json 0", "engine.json 0"} <= set(written)


def test_the_supervisor_writes_the_files_of_a_running_task_anew(make_house: Callable[..., House]) -> None:
    house = make_house()
    made: list[tuple[int, int]] = []
    fake = house._prepare
    broken: list[Exception] = []

    def noting(record: TaskRecord, folder: Path, *, port: int, settings: Settings) -> Launch:
        if broken and record.revision > 1:
            raise broken[0]
        made.append((record.revision, port))
        return fake(record, folder, port=port, settings=settings)

    house.options["prepare"] = noting
    house.open()
    key = house.create()
    record = house.wait_for(key, TaskState.RUNNING)
    pids = house.pid(key, "engine"), house.pid(key, "client")
    assert house.store.update(record, {"TaskID": "t1", "n": 2}, "new")
    wait_until(lambda: len(made) == 2, "the files are written anew")
    broken.append(OSError(errno.ENOSPC, "No space left on device"))
    second = house.record(key)
    assert second and house.store.update(second, {"TaskID": "t1", "n": 3}, "newer")
    wait_until(lambda: (r := house.record(key)) and "revision 3 is not in force" in r.reason, "the reason is told")
    broken[0] = GraphError("the graph is broken")
    group = house._group(key)
    group.rewrite_at = 0.0
    wait_until(lambda: (r := house.record(key)) and "graph is broken" in r.reason, "the other reason is told")
    broken.clear()
    group.rewrite_at = 0.0
    wait_until(lambda: (r := house.record(key)) and not r.reason, "the reason is gone")
    assert made == [(1, record.port), (2, record.port), (3, record.port)]
    assert (house.pid(key, "engine"), house.pid(key, "client")) == pids
    assert house.is_in(key, TaskState.RUNNING)
