"""What the shipped algorithms decide; what every algorithm must keep to is in tests/contract."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.errors import BadRequestError
from streamserver.core.events import Kind, RuleEvent
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames

BOX = (100, 60, 180, 200)
ELSEWHERE = (10, 20, 40, 90)


def build(name: str, body: dict[str, Any], index: int = 0) -> GraphOverrides:
    built = plugins.build(name, stream_path="", data=frames.task(body), port=10001, index=index)
    assert isinstance(built, GraphOverrides)
    return built


def crossing(track_id: int, direction: str, *, rule: int = 0) -> RuleEvent:
    return RuleEvent(
        kind=Kind.CROSS, rule=rule, track_id=track_id, class_id=0, score=0.9, box_xyxy=BOX, direction=direction
    )


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
        (entry,) = build("tripwire", frames.bodies(1)["line only"]).filters
        assert (entry["type"], entry["mode"], entry["classes"]) == (1, "cross", [0])
        assert (entry["rule"]["kind"], entry["rule"]["lines"]) == ("cross", [[[160, 0], [160, 240]]])

    def test_without_a_line_watches_the_area(self) -> None:
        (entry,) = build("tripwire", frames.bodies(1)["new"]).filters
        assert entry["type"] == 1 and "mode" not in entry and entry["anchor"] == "foot"
        assert len(entry["areas"][0]) == len(entry["rule"]["include"][0]) == 4
        assert (entry["rule"]["kind"], entry["rule"]["events"]) == ("area", ["inside"])
        (entry,) = build("tripwire", frames.bodies(1)["no DetectInfos"]).filters
        assert entry["areas"] == [[]] and entry["rule"]["include"] == []

    def test_each_algorithm_of_a_task_has_its_own_line(self) -> None:
        body = frames.bodies(1)["line only"]
        body["Algorithm"].append(frames.bodies(1)["new"]["Algorithm"][0])
        assert build("tripwire", body, 0).filters[0]["mode"] == "cross"
        assert "mode" not in build("tripwire", body, 1).filters[0]

    def test_reports_each_crossing(self) -> None:
        message = frames.frame(0, {7: BOX, 9: ELSEWHERE}, picture=True)
        frames.with_events(message, crossing(7, "in"), crossing(9, "out", rule=1))
        run = Run("tripwire")
        assert run.feed(message) == [["cross:0:7", "cross:1:9"]]
        report = run.algorithm.trans_json(message, "t", 1, ["cross:0:7", "cross:1:9"])
        first, second = (event["Extend"] for event in report["AnalyzeEvents"])
        assert (first["TrackId"], first["Direction"], first["Event"]) == (7, "in", "cross")
        assert (second["TrackId"], second["Direction"], second["Class"]) == (9, "out", "person")

    def test_reports_nothing_where_the_rules_have_seen_nothing(self) -> None:
        message = frames.with_events(frames.frame(0, {7: BOX}))
        assert Run("tripwire").feed(message) == [[]]

    def test_reports_all_that_arrives_from_an_engine_without_rules(self) -> None:
        message = frames.frame(0, {7: BOX, 9: ELSEWHERE}, picture=True)
        run = Run("tripwire")
        assert run.feed(message, message) == [["7", "9"], ["7", "9"]]
        (event,) = run.algorithm.trans_json(message, "t", 1, ["9"])["AnalyzeEvents"]
        assert event["Box"]["LeftTopX"] == 10
        assert event["Extend"] == {"TrackId": 9, "Class": "person", "Confidence": 0.8712}

    def test_reports_nobody_without_a_tracker(self) -> None:
        message = frames.frame(0, {7: BOX})
        del message["mTrackedObjectMetadatas"]
        assert Run("tripwire").feed(message) == [[]]


AREA_SAMPLES = ["yolov5", "area_intrusion", "template"]


@pytest.mark.parametrize("name", AREA_SAMPLES)
class TestAreas:
    def test_are_watched_by_one_rule_that_repeats_every_alarm_interval(self, name: str) -> None:
        (entry,) = build(name, frames.bodies(99)["new"]).filters
        rule = entry["rule"]
        assert (rule["kind"], rule["events"], len(rule["include"])) == ("area", ["inside"], 1)
        assert (rule["first"], rule["every"]) == (20, 300)
        assert entry["conditions"] == {"min_px": 30, "max_px": 250}

    def test_report_what_the_rules_have_seen_each_time(self, name: str) -> None:
        inside = RuleEvent(kind=Kind.INSIDE, track_id=7, class_id=2, score=0.87123, box_xyxy=BOX, stay_s=4.0, count=1)
        message = frames.with_events(frames.frame(0, {7: BOX}, picture=True), inside)
        run = Run(name, TrackInterval=20)
        assert run.feed(message, message) == [["inside:0:7"], ["inside:0:7"]]
        (event,) = run.algorithm.trans_json(message, "t", 3, ["inside:0:7"])["AnalyzeEvents"]
        extend = event["Extend"]
        assert extend["StayTime"] == 4.0 and extend["ObjectCount"] == 1 and extend["VehicleType"] == "car"
        assert event["Box"]["LeftTopX"] == BOX[0] and event["ImageBase64"].startswith("/9j/")


@pytest.mark.parametrize("name", AREA_SAMPLES)
class TestThoseWhoStayBeforeAnEngineWithoutRules:
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


def test_yolov5_tells_class_and_confidence_under_the_old_keys_too() -> None:
    message = frames.frame(0, {7: BOX}, class_id=2, score=0.87123, picture=True)
    expected = {"TrackId": 7, "Class": "car", "VehicleType": "car", "Confidence": 0.8712}
    expected |= {"类别": 2, "置信度": "87.12%"}
    report = plugins.load("yolov5").trans_json(message, "t", 3, ["7"])
    assert report["AnalyzeEvents"][0]["Extend"] == expected
    frames.with_events(message, RuleEvent(kind=Kind.OCCUPANCY, box_xyxy=BOX, count=4))
    report = plugins.load("yolov5").trans_json(message, "t", 3, ["occupancy:0:0"])
    assert report["AnalyzeEvents"][0]["Extend"] == {"Event": "occupancy", "ObjectCount": 4}


PLATES = ("license_plate_recognition", "license_area_intrusion")
A, B = "皖A12345", "皖A12346"


@pytest.mark.parametrize("name", PLATES)
class TestPlates:
    def test_pass_the_filter_in_every_frame_that_they_are_in_the_area(self, name: str) -> None:
        built = build(name, frames.bodies(2)["new"])
        (rule,) = built.filters
        assert (rule["type"], rule["alert_first_frame"], rule["alert_frame_skip_nums"]) == (0, 0, 1)
        assert (len(rule["areas"][0]), rule["anchor"]) == (4, "foot")

    def test_are_tracked_read_by_ppocr_and_voted_on(self, name: str) -> None:
        built = build(name, frames.bodies(2)["new"])
        assert built.graph == "engine_group.json"
        assert built.elements["*detector"] == {"threshold_conf": 0.1}
        assert built.elements["bytetrack"]["track_thresh"] == 0.5
        assert built.elements["vote"] == {"plates": "cn"}
        assert "ppocr_rec" not in built.elements

    def test_know_sizes_schedules_and_areas_to_leave_out(self, name: str) -> None:
        body = frames.bodies(2)["new"]
        corners = [{"X": 0, "Y": 0}, {"X": 50, "Y": 0}, {"X": 50, "Y": 50}]
        schedule = {"TimeZone": "Asia/Shanghai", "Windows": [{"Days": ["Sun"], "From": "00:00", "To": "24:00"}]}
        extend = {"ExcludeAreas": [corners], "Schedule": schedule, "DetectRoi": True}
        body["Algorithm"][0]["Extend"] = extend
        built = build(name, body)
        assert built.filters[0]["conditions"] == {
            "min_px": 30,
            "max_px": 250,
            "exclude": [[[0, 0], [50, 0], [50, 50]]],
            "schedule": {"zone": "Asia/Shanghai", "windows": [{"day": 6, "start": 0, "end": 1440}]},
        }
        assert built.elements["*detector"]["roi"]["left"] == 0

    def test_may_be_read_by_lprnet(self, name: str) -> None:
        body = frames.bodies(2)["new"]
        body["Algorithm"][0]["Extend"] = {"PlateReader": "lprnet"}
        assert build(name, body).graph == "engine_lprnet.json"

    def test_may_be_of_any_country(self, name: str) -> None:
        body = frames.bodies(2)["new"]
        body["Algorithm"][0]["Extend"] = {"Plates": "any"}
        built = build(name, body)
        assert built.elements["vote"] == {"plates": "any"}
        assert built.elements["ppocr_rec"] == {"alphabet": "plate", "aspect": None}
        run = Run(name, TrackInterval=1, Extend={"Plates": "any"})
        reported = run.feed(*(frames.plate_frame(i, [("AB123CD", BOX)]) for i in range(3)))
        assert [text for texts in reported for text in texts] == ["AB123CD"]

    @pytest.mark.parametrize(
        ("extend", "problem"),
        [
            ({"PlateReader": "tesseract"}, "PlateReader: got 'tesseract'; use one of ppocr, lprnet"),
            ({"Plates": "mars"}, "Plates: got 'mars'; use one of cn, any"),
            ({"PlateReader": "lprnet", "Plates": "any"}, "PlateReader: lprnet reads Chinese plates only"),
            ({"Anchor": "middle"}, "Anchor: got 'middle'; use one of foot, box"),
            ({"Events": ["enter"]}, "Events: means nothing to number plates; leave it out"),
            ({"Schedule": {"TimeZone": "Mars", "Windows": []}}, "Schedule.TimeZone: unknown time zone"),
            ({"Detector": "motion"}, "Detector: got 'motion', which finds what moves, and no number plates"),
            ({"Classes": [0, "car"]}, "Classes: the detector of number plates knows no class 2, only 0"),
        ],
    )
    def test_of_a_wrong_kind_are_the_task_s_mistake(self, name: str, extend: dict[str, Any], problem: str) -> None:
        body = frames.bodies(2)["new"]
        body["Algorithm"][0]["Extend"] = extend
        with pytest.raises(BadRequestError, match=rf"^\$.Algorithm\[0\].Extend.{problem}"):
            build(name, body)

    def test_know_no_mistake_in_keys_that_are_null(self, name: str) -> None:
        body = frames.bodies(2)["new"]
        plain = build(name, body)
        body["Algorithm"][0]["Extend"] = dict.fromkeys(("PlateReader", "Plates", "Anchor"))
        assert build(name, body) == plain

    def test_are_reported_once_though_misread_before_and_after(self, name: str) -> None:
        texts = [B, A, A, A, A, B, B, B, A]
        messages = [frames.plate_frame(i, [(text, BOX)], tracked=True) for i, text in enumerate(texts)]
        assert Run(name, TrackInterval=3).feed(*messages) == [[]] * 3 + [[A]] + [[]] * 5

    def test_that_cannot_be_plates_are_not_reported(self, name: str) -> None:
        messages = [frames.plate_frame(i, [("TAXI", BOX), ("###", ELSEWHERE)], tracked=True) for i in range(9)]
        assert Run(name, TrackInterval=1).feed(*messages) == [[]] * 9

    def test_are_not_reported_while_the_edge_cuts_them_off(self, name: str) -> None:
        cut, whole = (280, 100, 320, 120), (270, 100, 310, 120)
        messages = [frames.plate_frame(i, [(A, cut if i < 5 else whole)], tracked=True) for i in range(9)]
        assert Run(name, TrackInterval=3).feed(*messages) == [[]] * 7 + [[A], []]

    def test_start_again_with_the_source(self, name: str) -> None:
        messages = [frames.plate_frame(i, [(A, BOX)]) for i in range(3)]
        assert Run(name, TrackInterval=3).feed(*messages, *messages) == [[], [], [A]] * 2

    def test_come_with_their_own_picture_and_text(self, name: str) -> None:
        message = frames.plate_frame(0, [(A, BOX), (B, ELSEWHERE)], picture=True)
        report = plugins.load(name).trans_json(message, "t", 2, [B])
        (event,) = report["AnalyzeEvents"]
        assert event["Extend"] == {"VehicleLicense": B, "Class": "license_plate", "Confidence": 0.8712}
        assert event["Box"]["LeftTopX"] == ELSEWHERE[0]
        assert event["ImageBase64"] == message["mSubObjectMetadatas"][1]["mFrame"]["mSpData"]

    def test_come_with_a_crop_where_they_have_no_picture(self, name: str) -> None:
        message = frames.plate_frame(0, [(A, BOX)], picture=True)
        message["mSubObjectMetadatas"][0]["mFrame"]["mSpData"] = ""
        (event,) = plugins.load(name).trans_json(message, "t", 2, [A])["AnalyzeEvents"]
        assert base64.b64decode(event["ImageBase64"]).startswith(b"\xff\xd8")

    def test_that_were_not_read_are_overlooked(self, name: str) -> None:
        message = frames.plate_frame(0, [("", BOX)])
        assert Run(name, TrackInterval=1).feed(message) == [[]]
        del message["mSubObjectMetadatas"][0]["mRecognizedObjectMetadatas"]
        assert Run(name, TrackInterval=1).feed(message) == [[]]

    def test_are_found_by_place_where_a_sophon_stream_filter_left_old_numbers(self, name: str) -> None:
        message = frames.plate_frame(0, [(A, BOX)], picture=True)
        message["mSubObjectMetadatas"][0]["mSubId"] = 3
        report = plugins.load(name).trans_json(message, "t", 2, [A])
        assert [event["Box"]["LeftTopX"] for event in report["AnalyzeEvents"]] == [BOX[0]]

    def test_are_found_by_number_where_not_all_were_read(self, name: str) -> None:
        message = frames.plate_frame(0, [(A, BOX), (B, ELSEWHERE)], picture=True)
        del message["mSubObjectMetadatas"][0]
        report = plugins.load(name).trans_json(message, "t", 2, [A, B])
        assert [event["Box"]["LeftTopX"] for event in report["AnalyzeEvents"]] == [ELSEWHERE[0]]


class TestLicensePlateRecognition:
    NAME = "license_plate_recognition"

    @pytest.mark.parametrize("track_interval", [1, 3, 20])
    def test_reports_a_plate_read_alike_three_times_in_a_row_whatever_the_task_says(self, track_interval: int) -> None:
        run = Run(self.NAME, TrackInterval=track_interval)
        steps = [0, 1, 3, 4, 5, 6]
        assert run.feed(*(frames.plate_frame(i, [(A, BOX)]) for i in steps)) == [[]] * 4 + [[A], []]

    def test_reports_it_again_after_it_was_away_for_five_frames(self) -> None:
        run = Run(self.NAME)
        steps = [0, 1, 2, 7, 8, 9, 15, 16, 17]
        reported = run.feed(*(frames.plate_frame(i, [(A, BOX)]) for i in steps))
        assert reported == [[], [], [A], [], [], [], [], [], [A]]


class TestLicenseAreaIntrusion:
    NAME = "license_area_intrusion"

    def test_reports_a_plate_that_stayed_for_track_interval_frames(self) -> None:
        run = Run(self.NAME, TrackInterval=20)
        reported = run.feed(*(frames.plate_frame(i, [(A, BOX)]) for i in range(30)))
        assert reported == [[]] * 19 + [[A]] + [[]] * 10

    def test_a_frame_without_it_does_not_end_its_stay(self) -> None:
        run = Run(self.NAME, TrackInterval=6, DetectInterval=10)
        steps = [0, 1, 3, 4, 7, 8, 9]
        assert run.feed(*(frames.plate_frame(i, [(A, BOX)]) for i in steps)) == [[]] * 5 + [[A], []]

    @pytest.mark.parametrize(("interval", "gone"), [(10, 6), (1, 51)])
    def test_has_left_when_its_track_is_lost(self, interval: int, gone: int) -> None:
        run = Run(self.NAME, TrackInterval=1, DetectInterval=interval)
        assert run.feed(*(frames.plate_frame(i, [(A, BOX)]) for i in (0, gone - 1))) == [[A], []]
        assert run.feed(frames.plate_frame(2 * gone - 1, [(A, BOX)])) == [[A]]

    def test_may_ask_for_the_whole_box_in_the_area(self) -> None:
        body = frames.bodies(2)["new"]
        body["Algorithm"][0]["Extend"] = {"Anchor": "box"}
        assert build(self.NAME, body).filters[0]["anchor"] == "box"
        body["Algorithm"][0]["Extend"] = {"Anchor": "middle"}
        with pytest.raises(BadRequestError, match=r"Extend\.Anchor: got 'middle'; use one of foot, box"):
            build(self.NAME, body)
