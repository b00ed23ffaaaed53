from __future__ import annotations

import base64
import copy
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver import plugin_api
from streamserver.core.errors import BadRequestError
from streamserver.core.settings import PROJECT_DIR
from tests.samples import frames


def algorithm(**changes: Any) -> dict[str, Any]:
    """An accepted entry of a task."""
    body = copy.deepcopy(frames.bodies(99)["new"])
    body["Algorithm"][0] |= changes
    return dict(frames.task(body)["Algorithm"][0])


def wire(line: tuple[int, int, int, int], arrow: tuple[int, int, int, int] = (0, 0, 0, 0)) -> dict[str, Any]:
    """One entry of ``DetectInfos`` with a line."""
    x1, y1, x2, y2 = line
    ax, ay, bx, by = arrow
    return {
        "TripWire": {
            "LineStart": {"X": x1, "Y": y1},
            "LineEnd": {"X": x2, "Y": y2},
            "DirectStart": {"X": ax, "Y": ay},
            "DirectEnd": {"X": bx, "Y": by},
        },
        "HotArea": None,
    }


def area(*points: tuple[int, int]) -> dict[str, Any]:
    """One entry of ``DetectInfos`` with a polygon."""
    return {"HotArea": [{"X": x, "Y": y} for x, y in points]}


def test_all_that_is_offered_exists_and_is_documented() -> None:
    for name in plugin_api.__all__:
        value = getattr(plugin_api, name)
        assert not callable(value) or value.__doc__


@pytest.mark.parametrize(
    ("given", "expected"), [(50, 0.5), (0.5, 0.5), (1, 0.01), (100, 1.0), (0.99, 0.99), (None, 0.5), (0, 0.5)]
)
def test_a_threshold_is_a_fraction_below_one_and_percent_from_one(given: float | None, expected: float) -> None:
    assert plugin_api.threshold({"threshold": given}) == pytest.approx(expected)


@pytest.mark.parametrize("percent", [1, 10, 30, 50, 85, 100])
def test_tracking_lets_the_detector_pass_what_may_only_continue_a_track(percent: int) -> None:
    changes = plugin_api.tracking(algorithm(threshold=percent), [0])
    track = changes["bytetrack"]
    assert track["track_thresh"] == pytest.approx(percent / 100)
    assert 0 < changes["*detector"]["threshold_conf"] <= track["track_thresh"] <= track["high_thresh"] <= 1


def test_tracking_by_default_is_that_of_sophon_stream() -> None:
    track = plugin_api.tracking(algorithm(threshold=50), [0])["bytetrack"]
    assert (track["track_thresh"], track["high_thresh"]) == (0.5, 0.6)


def test_another_class_starts_no_track_where_one_class_counts() -> None:
    assert plugin_api.tracking(algorithm(), [0])["bytetrack"]["agnostic"] is False
    assert plugin_api.tracking(algorithm(), [2, 7])["bytetrack"]["agnostic"] is True


@pytest.mark.parametrize(("interval", "frames_kept"), [(1, 50), (3, 17), (25, 2), (300, 2)])
def test_a_lost_track_is_kept_about_two_seconds(interval: int, frames_kept: int) -> None:
    assert plugin_api.track_buffer(algorithm(DetectInterval=interval)) == frames_kept


class TestChannel:
    def test_says_what_is_played_and_how(self) -> None:
        body = frames.bodies(99)["new"]
        body["Algorithm"][0]["Extend"] = {"Loop": 0, "Fps": -1}
        assert plugin_api.channel(frames.task(body), 0) == {
            "url": "rtsp://192.0.2.1:554/stream",
            "source_type": "RTSP",
            "sample_interval": 3,
            "loop_num": 0,
            "fps": -1,
        }

    def test_takes_each_algorithms_own_interval(self) -> None:
        body = frames.bodies(99)["new"]
        body["Algorithm"].append(dict(body["Algorithm"][0], DetectInterval=7))
        assert plugin_api.channel(frames.task(body), 1)["sample_interval"] == 7


class TestLineFilters:
    def test_are_one_for_each_line_with_its_own_direction(self) -> None:
        infos = [wire((580, 0, 580, 431), (580, 215, 680, 215)), wire((1, 2, 3, 4)), wire((0, 0, 0, 0))]
        first, second = plugin_api.line_filters(algorithm(DetectInfos=infos), [0, 1])
        assert first == {
            "type": 1,
            "mode": "cross",
            "areas": [[{"left": 580, "top": 0}, {"left": 580, "top": 431}]],
            "direction": [100, 0],
            "classes": [0, 1],
            "times": [{"time_start": "00 00 00", "time_end": "23 59 59"}],
            "alert_first_frame": 20,
            "alert_frame_skip_nums": 300,
            "conditions": {"min_px": 30, "max_px": 250},
        }
        assert "direction" not in second and second["areas"] == [[{"left": 1, "top": 2}, {"left": 3, "top": 4}]]

    def test_are_none_where_no_line_is_drawn(self) -> None:
        assert plugin_api.line_filters(algorithm(), [0]) == []
        assert plugin_api.line_filters(algorithm(DetectInfos=None), [0]) == []
        assert plugin_api.line_filters({}, [0]) == []

    def test_never_divide_by_an_alarm_interval_of_zero(self) -> None:
        (only,) = plugin_api.line_filters(algorithm(DetectInfos=[wire((1, 0, 1, 9))], AlarmInterval=0), [0])
        assert only["alert_frame_skip_nums"] == 1


class TestAreaFilters:
    def test_are_one_with_all_polygons(self) -> None:
        infos = [area((0, 0), (9, 0), (9, 9)), area((20, 0), (29, 0), (29, 9), (20, 9))]
        (only,) = plugin_api.area_filters(algorithm(DetectInfos=infos), [2], type=2)
        assert [len(polygon) for polygon in only["areas"]] == [3, 4]
        assert only["areas"][0][1] == {"left": 9, "top": 0}
        assert (only["type"], only["anchor"], only["classes"]) == (2, "foot", [2])

    @pytest.mark.parametrize("infos", [None, [], [wire((1, 0, 1, 9))]])
    def test_are_everything_where_no_polygon_is_drawn(self, infos: Any) -> None:
        (only,) = plugin_api.area_filters(algorithm(DetectInfos=infos), [0], type=0, anchor="box")
        assert only["areas"] == [[]] and only["anchor"] == "box"


class TestClasses:
    def test_are_the_default_unless_the_task_says_otherwise(self) -> None:
        assert plugin_api.classes_of(algorithm(), (0, 5)) == [0, 5]
        assert plugin_api.classes_of(algorithm(Extend="text"), (0,)) == [0]

    def test_may_be_numbers_and_names(self) -> None:
        assert plugin_api.classes_of(algorithm(Extend={"Classes": [7, "person", "car", 7]}), ()) == [7, 0, 2]
        assert plugin_api.classes_of({"Extend": {"Classes": ["traffic light"]}}, ()) == [9]

    @pytest.mark.parametrize("given", [[], "person", [-1], [True], [1.5], ["unicorn"], [""], {}])
    def test_that_cannot_be_are_refused_with_their_path(self, given: Any) -> None:
        with pytest.raises(BadRequestError, match=r"\$\.Algorithm\[\]\.Extend\.Classes: .*; use numbers from 0"):
            plugin_api.classes_of({"Extend": {"Classes": given}}, ())

    def test_of_the_detectors_are_those_of_the_label_file(self) -> None:
        labels = (PROJECT_DIR / "configs" / "labels" / "coco.txt").read_text("utf-8").splitlines()
        assert len(labels) == len(plugin_api.COCO_CLASSES)


class TestEvents:
    BOX = (150, 60, 170, 100)

    def test_hold_a_square_around_the_object_cut_from_the_frame(self) -> None:
        message = frames.frame(4, {7: self.BOX}, picture=True)
        (found,) = plugin_api.objects_of(message)
        event = plugin_api.event(message, found, 6)
        assert event["Box"] == {"LeftTopX": 150, "LeftTopY": 60, "RightBtmX": 170, "RightBtmY": 100}
        assert event["Type"] == 6 and "Extend" not in event
        image = cv2.imdecode(np.frombuffer(base64.b64decode(event["ImageBase64"]), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape == (80, 80, 3)
        assert image[:, :35].mean() < 30 and image[:, 45:].mean() > 225

    def test_take_the_engines_crop_where_there_is_one(self) -> None:
        message = frames.frame(4, {7: self.BOX, 8: self.BOX}, picture=True) | {"mCrops": ["", "Y3JvcA=="]}
        first, second = (plugin_api.event(message, found, 6) for found in plugin_api.objects_of(message))
        assert second["ImageBase64"] == "Y3JvcA=="
        assert first["ImageBase64"].startswith("/9j/")

    def test_take_the_picture_they_are_given(self) -> None:
        message = frames.frame(4, {7: self.BOX})
        (found,) = plugin_api.objects_of(message)
        assert plugin_api.event(message, found, 2, extend={}, picture_base64="cA==") == {
            "ImageBase64": "cA==",
            "Type": 2,
            "Box": {"LeftTopX": 150, "LeftTopY": 60, "RightBtmX": 170, "RightBtmY": 100},
            "Extend": {},
        }

    def test_without_any_picture_have_none(self) -> None:
        message = frames.frame(4, {7: self.BOX})
        (found,) = plugin_api.objects_of(message)
        assert plugin_api.event(message, found, 2)["ImageBase64"] == ""

    def test_make_a_report_with_the_frames_number_and_picture(self) -> None:
        message = frames.frame(4, {7: self.BOX}, picture=True)
        report = plugin_api.make_report(message, "t1", [])
        picture = message["mFrame"]["mSpData"]
        assert report == {"TaskID": "t1", "SceneImageBase64": picture, "FrameIndex": 12, "AnalyzeEvents": []}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"graph": "../engine.json"}, "graph: expected the name of a file"),
        ({"graph": 3}, "graph: expected the name of a file"),
        ({"channel": {"fps": {1}}}, "channel: cannot be written as JSON"),
        ({"filters": [{"areas": {1, 2}}]}, "filters: cannot be written as JSON"),
        ({"elements": {"yolox": {"threshold_conf": b""}}}, "elements: cannot be written as JSON"),
    ],
)
def test_overrides_that_cannot_be_written_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        plugin_api.GraphOverrides(**changes)
