"""What the shipped algorithms decide; what every algorithm must keep to is in tests/contract."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from streamserver import plugins
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames

BOX = (100, 60, 180, 200)
ELSEWHERE = (10, 20, 40, 90)


def build(name: str, body: dict[str, Any], index: int = 0) -> GraphOverrides:
    built = plugins.build(name, stream_path="", data=frames.task(body), port=10001, index=index)
    assert isinstance(built, GraphOverrides)
    return built


class Run:
    """One algorithm of a task, fed frame by frame."""

    def __init__(self, name: str, **request: Any) -> None:
        self.algorithm = plugins.load(name)
        self.state = self.algorithm.new_state(request)

    def feed(self, *messages: dict[str, Any]) -> list[list[Any]]:
        """The names reported in each frame."""
        reported = []
        for message in messages:
            names: list[Any] = []
            self.algorithm.logic(message, names, [], self.state)
            reported.append(names)
        return reported


class TestTripwire:
    def test_watches_the_lines(self) -> None:
        (rule,) = build("tripwire", frames.bodies(1)["line only"]).filters
        assert (rule["type"], rule["mode"], rule["classes"]) == (1, "cross", [0])

    def test_without_a_line_watches_the_area_for_each_person_once(self) -> None:
        (rule,) = build("tripwire", frames.bodies(1)["new"]).filters
        assert rule["type"] == 1 and "mode" not in rule and rule["anchor"] == "foot"
        assert len(rule["areas"][0]) == 4
        (rule,) = build("tripwire", frames.bodies(1)["no DetectInfos"]).filters
        assert rule["areas"] == [[]]

    def test_each_algorithm_of_a_task_has_its_own_line(self) -> None:
        body = frames.bodies(1)["line only"]
        body["Algorithm"].append(frames.bodies(1)["new"]["Algorithm"][0])
        assert build("tripwire", body, 0).filters[0]["mode"] == "cross"
        assert "mode" not in build("tripwire", body, 1).filters[0]

    def test_reports_all_that_arrives_each_time(self) -> None:
        message = frames.frame(0, {7: BOX, 9: ELSEWHERE}, picture=True)
        run = Run("tripwire")
        assert run.feed(message, message) == [["7", "9"], ["7", "9"]]
        report = run.algorithm.trans_json(message, "t", 1, ["9"])
        assert [event["Box"]["LeftTopX"] for event in report["AnalyzeEvents"]] == [10]
        assert "Extend" not in report["AnalyzeEvents"][0]

    def test_reports_nobody_without_a_tracker(self) -> None:
        message = frames.frame(0, {7: BOX})
        del message["mTrackedObjectMetadatas"]
        assert Run("tripwire").feed(message) == [[]]


@pytest.mark.parametrize("name", ["yolov5", "area_intrusion", "template"])
class TestThoseWhoStay:
    def test_are_reported_once_after_track_interval_frames_in_a_row(self, name: str) -> None:
        run = Run(name, TrackInterval=4)
        assert run.feed(*(frames.frame(i, {7: BOX}) for i in range(8))) == [[]] * 3 + [["7"]] + [[]] * 4

    def test_start_again_after_a_frame_without_them_even_if_it_was_not_pushed(self, name: str) -> None:
        run = Run(name, TrackInterval=3)
        steps = [0, 1, 3, 4, 5]
        assert run.feed(*(frames.frame(i, {7: BOX}) for i in steps)) == [[], [], [], [], ["7"]]

    def test_are_reported_again_only_after_they_were_forgotten(self, name: str) -> None:
        run = Run(name, TrackInterval=1, DetectInterval=10)  # a lost track is kept 5 frames
        assert run.feed(*(frames.frame(i, {7: BOX}) for i in (0, 5))) == [["7"], []]
        assert run.feed(frames.frame(11, {7: BOX})) == [["7"]]

    def test_are_remembered_as_long_as_their_track_may_be_lost(self, name: str) -> None:
        run = Run(name, TrackInterval=1, DetectInterval=1)  # 50 frames
        assert run.feed(frames.frame(0, {7: BOX}), frames.frame(49, {7: BOX})) == [["7"], []]

    def test_are_counted_by_class_where_no_tracker_spoke(self, name: str) -> None:
        messages = [frames.frame(i, {7: BOX}, class_id=2, picture=True) for i in range(2)]
        for message in messages:
            del message["mTrackedObjectMetadatas"]
        run = Run(name, TrackInterval=2)
        assert run.feed(*messages) == [[], ["class 2"]]
        assert len(run.algorithm.trans_json(messages[1], "t", 3, ["class 2"])["AnalyzeEvents"]) == 1

    def test_are_counted_by_frame_number_where_no_sequence_is_given(self, name: str) -> None:
        messages = [frames.frame(i, {7: BOX}) for i in range(2)]
        for position, message in enumerate(messages):
            del message["mFrame"]["mSequence"]
            message["mFrame"]["mFrameId"] = position
        assert Run(name, TrackInterval=2).feed(*messages) == [[], ["7"]]


def test_yolov5_looks_for_every_class_and_area_intrusion_for_persons() -> None:
    body = frames.bodies(99)["new"]
    assert build("yolov5", body).filters[0]["classes"] == list(range(80))
    assert build("area_intrusion", body).filters[0]["classes"] == [0]
    body["Algorithm"][0]["Extend"] = {"Classes": ["car", 7]}
    for name in ("yolov5", "area_intrusion", "tripwire"):
        assert build(name, body).filters[0]["classes"] == [2, 7]


def test_yolov5_tells_class_and_confidence_under_the_old_keys() -> None:
    message = frames.frame(0, {7: BOX}, class_id=2, score=0.87123, picture=True)
    report = plugins.load("yolov5").trans_json(message, "t", 3, ["7"])
    assert report["AnalyzeEvents"][0]["Extend"] == {"类别": 2, "置信度": "87.12%"}


class TestLicenseAreaIntrusion:
    NAME = "license_area_intrusion"

    def test_lets_the_filter_pass_every_plate_in_the_area(self) -> None:
        built = build(self.NAME, frames.bodies(2)["new"])
        (rule,) = built.filters
        assert (rule["type"], rule["alert_first_frame"], rule["alert_frame_skip_nums"]) == (0, 0, 1)
        assert len(rule["areas"][0]) == 4
        assert built.elements == {"*detector": {"threshold_conf": 0.5}}

    def test_reports_a_plate_read_three_times_in_a_row(self) -> None:
        run = Run(self.NAME, TrackInterval=20)
        texts = ["京A1", "京A1", "京A2", "京A1", "京A1", "京A1", "京A1"]
        reported = run.feed(*(frames.plate_frame(i, [(text, BOX)]) for i, text in enumerate(texts)))
        assert reported == [[]] * 5 + [["京A1"], []]

    def test_reports_it_again_after_it_was_away_for_five_frames(self) -> None:
        run = Run(self.NAME, TrackInterval=1)
        assert run.feed(*(frames.plate_frame(i, [("京A1", BOX)]) for i in (0, 5, 11))) == [["京A1"], [], ["京A1"]]

    def test_sends_the_plates_own_picture_and_text(self) -> None:
        message = frames.plate_frame(0, [("京A1", BOX), ("京A2", ELSEWHERE)], picture=True)
        report = plugins.load(self.NAME).trans_json(message, "t", 2, ["京A2"])
        (event,) = report["AnalyzeEvents"]
        assert event["Extend"] == {"VehicleLicense": "京A2"}
        assert event["Box"]["LeftTopX"] == ELSEWHERE[0]
        assert event["ImageBase64"] == message["mSubObjectMetadatas"][1]["mFrame"]["mSpData"]

    def test_sends_a_crop_where_the_plate_has_no_picture(self) -> None:
        message = frames.plate_frame(0, [("京A1", BOX)], picture=True)
        message["mSubObjectMetadatas"][0]["mFrame"]["mSpData"] = ""
        (event,) = plugins.load(self.NAME).trans_json(message, "t", 2, ["京A1"])["AnalyzeEvents"]
        assert base64.b64decode(event["ImageBase64"]).startswith(b"\xff\xd8")

    def test_takes_parallel_lists_as_they_are_and_others_by_sub_id(self) -> None:
        message = frames.plate_frame(0, [("京A1", BOX), ("京A2", ELSEWHERE)], picture=True)
        del message["mSubObjectMetadatas"][0]  # one plate was not routed to lprnet
        (event,) = plugins.load(self.NAME).trans_json(message, "t", 2, ["京A2"])["AnalyzeEvents"]
        assert event["Box"]["LeftTopX"] == ELSEWHERE[0]
        del message["mDetectedObjectMetadatas"][0]  # a filter has removed the other plate altogether
        (event,) = plugins.load(self.NAME).trans_json(message, "t", 2, ["京A2"])["AnalyzeEvents"]
        assert event["Box"]["LeftTopX"] == ELSEWHERE[0]

    def test_overlooks_what_was_not_read(self) -> None:
        message = frames.plate_frame(0, [("", BOX)])
        assert Run(self.NAME, TrackInterval=1).feed(message) == [[]]
        del message["mSubObjectMetadatas"][0]["mRecognizedObjectMetadatas"]
        assert Run(self.NAME, TrackInterval=1).feed(message) == [[]]
