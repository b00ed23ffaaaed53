"""From a task to its rules, through frames, to reports: each part is the real one but for the pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamserver import plugins
from streamserver.geometry.rules.rule_json import make_rule, parse_rule
from streamserver.plugin_api import GraphOverrides
from tests.geometry.rules.rule_frames import FPS, person, rule_frame
from tests.samples import frames

NIGHT_US = 1_700_000_000_000_000  # Tuesday, 22:13:20 UTC


class Task:
    """One algorithm of a task, fed with the feet of people."""

    def __init__(self, name: str, **entry: Any) -> None:
        body = frames.bodies(99)["no DetectInfos"]
        body["Algorithm"][0] |= entry
        data = frames.task(body)
        built = plugins.build(name, stream_path="", data=data, port=1, index=0)
        assert isinstance(built, GraphOverrides)
        self.rules = [make_rule(parse_rule(filter_, f"filters[{i}]")) for i, filter_ in enumerate(built.filters)]
        self.algorithm = plugins.load(name)
        self.state = self.algorithm.new_state(data["Algorithm"][0])

    def told(self, step: int, feet: dict[int, tuple[float, float]]) -> list[dict[str, Any]]:
        """``Extend`` of each event that is reported of a processed frame."""
        boxes = {number: person(x, y) for number, (x, y) in feet.items()}
        frame = rule_frame(step, boxes, timestamp_us=NIGHT_US + int(step / FPS * 1e6))
        seen = [(i, happened) for i, rule in enumerate(self.rules) for happened in rule.update(frame)]
        if not seen:
            return []
        message = frames.frame(step, {number: tuple(map(int, box)) for number, box in boxes.items()}, picture=True)  # type: ignore[misc]
        frames.with_events(message, *(replace(happened, rule=i) for i, happened in seen))
        names: list[Any] = []
        self.algorithm.logic(message, names, [], self.state)
        report = self.algorithm.trans_json(message, "t", 1, names)
        return [event["Extend"] for event in report["AnalyzeEvents"]]


AREA = [{"HotArea": [{"X": 100, "Y": 100}, {"X": 400, "Y": 100}, {"X": 400, "Y": 400}, {"X": 100, "Y": 400}]}]
LINE = [{"TripWire": {"LineStart": {"X": 300, "Y": 0}, "LineEnd": {"X": 300, "Y": 600}}}]


@pytest.mark.parametrize(("alarm_interval", "steps"), [(20, [4, 24, 44]), (0, [4])])
def test_who_stays_in_an_area_is_told_every_alarm_interval(alarm_interval: int, steps: list[int]) -> None:
    task = Task("area_intrusion", TrackInterval=5, AlarmInterval=alarm_interval, DetectInfos=AREA)
    told = {step: task.told(step, {7: (250, 300)}) for step in range(50)}
    assert [step for step, extends in told.items() if extends] == steps
    assert told[4][0]["Event"] == "inside" and told[4][0]["ObjectCount"] == 1


def test_one_report_tells_of_all_who_cross_in_one_frame_and_which_way() -> None:
    extend = {"Lines": [{"Points": [{"X": 500, "Y": 0}, {"X": 500, "Y": 300}, {"X": 500, "Y": 600}]}]}
    task = Task("tripwire", TrackInterval=2, DetectInfos=LINE, Extend=extend)
    told = [task.told(step, {7: (100 + 10 * step, 300), 9: (700 - 10 * step, 300)}) for step in range(60)]
    reports = [{(one["Line"], one["TrackId"]): one["Direction"] for one in extends} for extends in told if extends]
    assert len(reports) == 2 and all(len(report) == 2 for report in reports)
    first, second = reports
    assert first.keys() == {(0, 7), (1, 9)} and second.keys() == {(1, 7), (0, 9)}
    ways = {number: {report[key] for report in reports for key in report if key[1] == number} for number in (7, 9)}
    assert all(len(way) == 1 for way in ways.values()) and ways[7] != ways[9]


@pytest.mark.parametrize(("days", "expected"), [(["Tue"], True), (["Wed"], False)])
def test_a_schedule_says_when(days: list[str], expected: bool) -> None:
    window = {"Days": days, "From": "20:00", "To": "06:00"}
    extend = {"Schedule": {"TimeZone": "UTC", "Windows": [window]}, "DwellTime": 1}
    task = Task("area_intrusion", TrackInterval=1, DetectInfos=AREA, Extend=extend)
    told = [one for step in range(20) for one in task.told(step, {7: (250, 300)})]
    assert [one["Event"] for one in told] == (["dwell"] if expected else [])


def test_no_one_counts_where_it_is_excluded_or_too_small() -> None:
    exclude = [[{"X": 200, "Y": 200}, {"X": 390, "Y": 200}, {"X": 390, "Y": 390}, {"X": 200, "Y": 390}]]
    task = Task("yolov5", TrackInterval=1, DetectInfos=AREA, Extend={"ExcludeAreas": exclude})
    told = [one for step in range(9) for one in task.told(step, {7: (300, 300), 9: (140, 300)})]
    assert [one["TrackId"] for one in told] == [9]
    task = Task("yolov5", TrackInterval=1, DetectInfos=AREA, TargetSize={"MinDetect": 60, "MaxDetect": 0})
    assert not any(task.told(step, {7: (300, 300)}) for step in range(9))
