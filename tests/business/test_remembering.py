"""Totals that outlive a process: the real passenger_flow on a real outbox, whoever is killed and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.business.config import AlgorithmSpec
from streamserver.business.session import AlgorithmSession
from streamserver.business.upkeep import TendedOutbox
from streamserver.core.errors import StoreError
from streamserver.core.events import EVENTS_KEY, PICTURES_KEY, Kind, RuleEvent
from streamserver.outbox.box import Outbox
from streamserver.outbox.records import Memory
from tests.business.support import PICTURE, message, with_pictures

FILE = "outbox.sqlite"


def session(outbox: Any, *, replayable: bool = True, **extend: Any) -> AlgorithmSession:
    request = {"Type": 7, "DetectInterval": 1, "Extend": extend}
    return AlgorithmSession(
        plugins.load("passenger_flow"),
        AlgorithmSpec(index=0, type=7, name="passenger_flow", request=request),
        outbox=outbox,
        task_id="t1",
        src_id="cam1",
        replayable=replayable,
    )


def posted(number: int, *ways: str, loop: int = 0, sequence: int = -1, now: int = 0) -> dict[str, Any]:
    """A frame in which somebody comes or goes each way; ``now`` is its time in seconds."""
    box = (10, 20, 40, 60)
    events = [
        RuleEvent(kind=Kind.FLOW, track_id=i + 1, direction=way, count=2, class_id=0, box_xyxy=box)
        for i, way in enumerate(ways)
    ]
    told = message(number, range(1, len(ways) + 1), loop=loop, sequence=sequence)
    told["mFrame"]["mTimestamp"] = now * 1_000_000
    return {**told, EVENTS_KEY: [event.to_wire() for event in events]}


def take(one: AlgorithmSession, frame: dict[str, Any]) -> None:
    """As the engine posts it: again with pictures when they are asked for."""
    if one.handle(frame):
        pictures = [PICTURE] * len(frame[EVENTS_KEY])
        assert not one.handle({**with_pictures(frame), PICTURES_KEY: pictures})


def totals(one: AlgorithmSession) -> tuple[int, int]:
    return one.totals["In"], one.totals["Out"]


def reports(outbox: Outbox) -> list[dict[str, Any]]:
    return [json.loads(found.body)[0] for found in outbox.claim(100, early=True)]


def test_totals_are_reported_and_go_on_after_a_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox)
    assert totals(one) == (0, 0)
    take(one, posted(3, "in", "in"))
    take(one, posted(4, "out"))
    [first, second] = reports(outbox)
    assert [event["Extend"]["In"] for event in first["AnalyzeEvents"]] == [2, 2]
    assert (
        second["AnalyzeEvents"][0]["Extend"] | {"In": 2, "Out": 1, "Current": 2, "ObjectCount": 2}
        == (second["AnalyzeEvents"][0]["Extend"])
    )
    outbox.close()
    outbox = Outbox(tmp_path / FILE)
    again = session(outbox)
    assert totals(again) == (2, 1)
    take(again, posted(5, "in"))
    assert totals(again) == (3, 1)
    outbox.close()


def test_frames_of_a_file_that_come_again_are_not_counted_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox)
    frames = [posted(3, "in"), posted(8), posted(9, "in", "out"), posted(12, "in")]
    for frame in frames[:3]:
        take(one, frame)
    for who in (one, session(outbox)):  # the engine was killed, or both were
        for frame in frames:
            take(who, frame)
        assert totals(who) == (3, 1)
    assert len(reports(outbox)) == 3
    outbox.close()


def test_a_new_loop_goes_on_counting(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox)
    for loop in range(3):
        take(one, posted(3, "in", loop=loop, sequence=10 * loop))
    assert totals(one) == (3, 0)
    take(one, posted(3, "in", loop=1, sequence=10))
    assert totals(one) == (3, 0)
    outbox.close()


@pytest.mark.parametrize("before", [(), (1, 2)], ids=["first", "later"])
@pytest.mark.parametrize("client_too", [False, True], ids=["engine", "engine and client"])
def test_what_was_not_kept_when_the_engine_was_killed_counts_once_when_it_comes_again(
    tmp_path: Path, client_too: bool, before: tuple[int, ...]
) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox)
    for number in before:
        take(one, posted(number, "in", now=100))
    assert one.handle(posted(5, "in", now=100))  # and its picture never comes
    one = session(outbox) if client_too else one
    for number in (*before, 5):
        take(one, posted(number, "in", now=200))
    assert totals(one) == (len(before) + 1, 0) and len(reports(outbox)) == len(before) + 1
    outbox.close()


def test_of_a_camera_only_the_same_frame_is_the_same(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox, replayable=False)
    take(one, posted(7, "in", now=100))
    again = session(outbox, replayable=False)  # the client was killed before it could answer
    take(again, posted(7, "in", now=100))
    assert totals(again) == (1, 0)
    take(again, posted(0, "in", now=105))  # the engine was, too, and begins at 0
    assert totals(again) == (2, 0)
    outbox.close()


def test_without_reports_of_each_totals_are_kept_all_the_same(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    one = session(outbox, ReportEvents=False)
    take(one, posted(1, "in"))
    assert reports(outbox) == [] and totals(session(outbox)) == (1, 0)
    count = RuleEvent(kind=Kind.COUNT, count=1)
    told = {**message(2), EVENTS_KEY: [count.to_wire()]}
    take(one, told)
    [report] = reports(outbox)
    [event] = report["AnalyzeEvents"]
    assert event["Box"] == {"LeftTopX": 0, "LeftTopY": 0, "RightBtmX": 640, "RightBtmY": 360}
    assert event["Extend"] == {"Event": "count", "In": 1, "Out": 0, "Current": 1, "ObjectCount": 1}
    outbox.close()


def test_a_frame_whose_totals_cannot_be_kept_is_refused_and_counted_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    boxes: list[Outbox] = []

    def open_box() -> Outbox:
        if not boxes:
            raise StoreError("disk full")
        return boxes[0]

    tended = TendedOutbox(open_box, on_open=lambda _: None, on_change=lambda: None)
    tended.open()
    one = session(tended, ReportEvents=False)
    assert one.totals is None
    with pytest.raises(StoreError):
        one.handle(posted(1, "in"))
    boxes.append(outbox)
    tended.open()
    assert not one.handle(posted(1, "in")) and totals(one) == (1, 0)
    outbox.close()


def test_a_memory_that_the_sample_cannot_read_is_told_and_counting_begins_anew(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    outbox.remember(Memory(algorithm=0, content='{"of": "another version"}', place=(0, 0, 0)))
    one = session(outbox)
    assert "recall" in one.last_error
    take(one, posted(1, "in"))
    assert totals(one) == (1, 0)
    outbox.close()


def test_an_algorithm_that_remembers_nothing_keeps_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / FILE)
    spec = AlgorithmSpec(index=0, type=6, name="area_intrusion", request={"Type": 6})
    one = AlgorithmSession(plugins.load("area_intrusion"), spec, task_id="t", src_id="", replayable=True, outbox=outbox)
    for number in range(5):
        take(one, posted(number))
    assert one.totals is None and outbox.recall(0) is None
    outbox.close()
