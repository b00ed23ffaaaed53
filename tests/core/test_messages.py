"""What a create body may hold, what it becomes, and what every wrong one is told."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest

from streamserver.core.errors import BadRequestError, BodyTooLargeError, StreamServerError, UnknownAlgorithmError
from streamserver.core.examples import NEW_TASK_BODY
from streamserver.core.messages import (
    CreateRequest,
    canonical,
    parse_create,
    parse_task_id,
    spec_hash,
)
from tests.hostile_bodies import ADDRESS, ALGORITHM, AREA, GONE, LINE, NOT_JSON, URLS, WRONG, ZERO, Step, edited

_MAX_BYTES = 1_000_000
_TYPES = {1: "tripwire", 3: "yolov5"}
_NO_LINE = {"LineStart": ZERO, "LineEnd": ZERO, "DirectStart": ZERO, "DirectEnd": ZERO}


def _parse(
    body: dict[str, Any] | bytes, *, events_kept_locally: bool = False, foreign_engine: bool = False
) -> CreateRequest:
    return parse_create(
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        known_types=_TYPES,
        max_bytes=_MAX_BYTES,
        events_kept_locally=events_kept_locally,
        source_exists=lambda path: path == "/clips/a b.mp4",
        foreign_engine=foreign_engine,
    )


def _canonical(path: tuple[Step, ...], value: Any) -> Any:
    content: Any = canonical(_parse(edited(path, value)))
    for step in path:
        content = content[step]
    return content


def test_the_body_of_a_new_task_keeps_its_values_and_gains_the_defaults() -> None:
    expected = copy.deepcopy(NEW_TASK_BODY)
    expected["Algorithm"][0]["Extend"] = {}
    assert canonical(_parse(NEW_TASK_BODY)) == expected


def test_a_bare_request_gets_the_documented_defaults() -> None:
    body = edited(("Algorithm",), [{"Type": 3}])
    assert canonical(_parse(body))["Algorithm"] == [
        {
            "Type": 3,
            "DetectInterval": 3,
            "TrackInterval": 20,
            "AlarmInterval": 300,
            "threshold": 50.0,
            "TargetSize": {"MinDetect": 0, "MaxDetect": 0},
            "DetectInfos": [],
            "Extend": {},
        }
    ]


@pytest.mark.parametrize(
    ("path", "sent", "becomes"),
    [
        ((*ALGORITHM, "threshold"), 0.5, 50.0),
        ((*ALGORITHM, "threshold"), 0.07, 7.0),
        ((*ALGORITHM, "threshold"), 0.001, 1.0),
        ((*ALGORITHM, "threshold"), 50, 50.0),
        ((*ALGORITHM, "threshold"), 1, 1.0),
        ((*ALGORITHM, "threshold"), 1.5, 1.5),
        ((*ALGORITHM, "threshold"), 100, 100.0),
        ((*ALGORITHM, "threshold"), None, 50.0),
        ((*ALGORITHM, "DetectInterval"), 0, 1),
        ((*ALGORITHM, "DetectInterval"), 3.0, 3),
        ((*ALGORITHM, "AlarmInterval"), 0, 0),
        ((*ALGORITHM, "TargetSize"), {"MinDetect": 0, "MaxDetect": 0}, {"MinDetect": 0, "MaxDetect": 0}),
        ((*ALGORITHM, "TargetSize"), {"MinDetect": 30}, {"MinDetect": 30, "MaxDetect": 0}),
        ((*ALGORITHM, "DetectInfos"), None, []),
        ((*ALGORITHM, "DetectInfos"), [], []),
        ((*ALGORITHM, "DetectInfos"), [{}], [{"TripWire": _NO_LINE, "HotArea": []}]),
        (AREA, None, []),
        (AREA, [], []),
        (AREA, [ZERO, {"X": 5, "Y": 0}, {"X": 5, "Y": 5}, ZERO], [ZERO, {"X": 5, "Y": 0}, {"X": 5, "Y": 5}]),
        (AREA, [ZERO, {"X": 4.6, "Y": 0.4}, {"X": 5.0, "Y": 5}], [ZERO, {"X": 5, "Y": 0}, {"X": 5, "Y": 5}]),
        (LINE, None, _NO_LINE),
        (LINE, {}, _NO_LINE),
        ((*ALGORITHM, "Extend"), "any text", "any text"),
        ((*ALGORITHM, "Extend"), [1, {"a": None}], [1, {"a": None}]),
        ((*ALGORITHM, "Extend"), {"mine": [1], "Loop": 0, "Fps": None}, {"mine": [1], "Loop": 0}),
        ((*ALGORITHM, "Extend"), {"Fps": -1, "Detector": "motion"}, {"Fps": -1.0, "Detector": "motion"}),
        ((*ALGORITHM, "Extend"), {"Classes": [0, "car"]}, {"Classes": [0, "car"]}),
        (("TaskID",), 7, "7"),
        (("TaskID",), "../../车道 1/a;b", "../../车道 1/a;b"),
        (("InputSrc", "SrcID"), 60010000044503022212, "60010000044503022212"),
        (("InputSrc", "SrcID"), "", ""),
        (ADDRESS, "/clips/a b.mp4", "/clips/a b.mp4"),
        (ADDRESS, "file:///clips/a%20b.mp4", "file:///clips/a%20b.mp4"),
        (ADDRESS, "RTSP://user:p@ss:w#rd@10.0.0.1/1", "rtsp://user:p@ss:w#rd@10.0.0.1/1"),
    ],
)
def test_what_real_clients_send_is_taken_as_it_was_meant(path: tuple[Step, ...], sent: Any, becomes: Any) -> None:
    assert _canonical(path, sent) == becomes


def test_a_line_keeps_its_direction_and_loses_one_without_length() -> None:
    line = {"LineStart": {"X": 580, "Y": 0}, "LineEnd": {"X": 580, "Y": 431}}
    arrow = {"DirectStart": {"X": 580, "Y": 200}, "DirectEnd": {"X": 680, "Y": 200}}
    dot = {"DirectStart": {"X": 170, "Y": 260}, "DirectEnd": {"X": 170, "Y": 260}}
    assert _canonical(LINE, line | arrow) == line | arrow
    assert _canonical(LINE, line | dot) == line | {"DirectStart": ZERO, "DirectEnd": ZERO}
    assert _canonical(LINE, line) == line | {"DirectStart": ZERO, "DirectEnd": ZERO}


def test_the_old_manuals_spelling_of_the_line_is_understood() -> None:
    line = {"LineStart": {"X": 1, "Y": 2}, "LineEnd": {"X": 3, "Y": 4}}
    (info,) = _canonical((*ALGORITHM, "DetectInfos"), [{"TripleWire": line, "TripWire": None}])
    assert info["TripWire"] == line | {"DirectStart": ZERO, "DirectEnd": ZERO}
    assert "TripleWire" not in info


def test_unknown_keys_are_kept_even_when_they_look_like_our_inside() -> None:
    extra = {"Priority": 3, "task_id": "x", "model_fields": 1, "__class__": {"a": 1}, "self": 2}
    request = _parse(NEW_TASK_BODY | extra)
    assert request.task_id == "t1"
    assert {key: canonical(request)[key] for key in extra} == extra


def test_a_slip_of_the_pen_is_logged_with_the_key_that_was_meant(caplog: pytest.LogCaptureFixture) -> None:
    body = edited((*ALGORITHM, "DetectInteval"), 5)
    body["Algorithm"][0]["Extend"] = {"loop": 0, "unlike": 1}
    with caplog.at_level(logging.WARNING):
        _parse(body)
    assert [record.getMessage() for record in caplog.records] == [
        "task 't1': $.Algorithm[0].DetectInteval is no key of this server; did you mean 'DetectInterval'?",
        "task 't1': $.Algorithm[0].Extend.loop is no key of this server; did you mean 'Loop'?",
    ]


def test_no_body_can_fill_the_log_with_its_slips(caplog: pytest.LogCaptureFixture) -> None:
    body = NEW_TASK_BODY | {f"TaskI{number}": 1 for number in range(1000)}
    with caplog.at_level(logging.WARNING):
        _parse(body)
    assert len(caplog.records) == 10


def test_a_task_without_report_addresses_is_fine_where_events_are_kept() -> None:
    for body in (edited(("Reporting",), GONE), edited(("Reporting",), None), edited(URLS, [])):
        request = _parse(body, events_kept_locally=True)
        assert canonical(request)["Reporting"] == {"ReportUrlList": []}


_PLATFORM = "34020000002000000001"
_GB28181 = f"gb28181://{_PLATFORM}:secret@10.0.0.1:5060?deviceid={_PLATFORM}"
_RECORDING = f"{_GB28181.replace('gb28181', 'gb28181_playback')}#begtime=20231024155207#endtime=20231024160810"


@pytest.mark.parametrize(
    "address",
    [
        _GB28181,
        _RECORDING,
        "/dev/video0",
        "udp://239.0.0.1:1234",
        "udp://@:1234",
        "srt://cam:9000?mode=caller&passphrase=secret0123",
        "base64://127.0.0.1:18080/cam1",
        "base64://localhost:18080",
        "base64://0.0.0.0:18080/cam1",
        "rtsps://u:p@cam/1",
        "rtsp://admin:p@ss/w?rd#1:%&\"' ü@10.0.0.1:554/stream",
    ],
)
def test_every_kind_of_address_is_accepted_as_it_is(address: str) -> None:
    assert canonical(_parse(edited(ADDRESS, address)))["InputSrc"]["StreamSrc"]["Address"] == address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (_GB28181.replace(_PLATFORM, "1"), "platform id: expected 20 digits, got '1'"),
        (_GB28181.partition("?")[0], "write the platform's id and password before @host:port"),
        (f"{_GB28181}#begtime=20231024155207", "begtime: a live stream has no times"),
        (_RECORDING.partition("#")[0], "begtime: it is missing"),
        ("udp://239.0.0.1", "port: it is missing"),
        ("udp://239.0.0.1:70000", "port: 70000 is no port"),
        ("rtsp://u:secret@cam:99999/1", "port: 99999 is no port"),
        ("srt://cam?passphrase=secret0123", "port: it is missing"),
        ("base64://127.0.0.1/cam1", "port: it is missing"),
        ("base64://192.0.2.7:18080/cam1", "host: 192.0.2.7 is no address of this server"),
        ("base64://camera.example:18080/cam1", "host: 'camera.example' is no IP address"),
        ("base64://u:secret@127.0.0.1:18080/cam1", "write e.g. base64://127.0.0.1:18080/cam1"),
        ("/dev/video", "write /dev/video0 or the like"),
        ("ftp://u:secret@h/1", "unknown kind of address"),
        ("admin:secret@10.0.0.1/1", "not an absolute path"),
        ("rtsp:/admin:secret@10.0.0.1/1", "not an absolute path"),
    ],
)
def test_a_wrong_address_is_told_the_part_and_the_cure_and_keeps_its_secrets(address: str, says: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        _parse(edited(ADDRESS, address))
    assert caught.value.path == "$.InputSrc.StreamSrc.Address"
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["gb28181://u:p@h?deviceid=1", "gb28181_playback://u:p@h", "/dev/video0", "rtsp://h"]
)
def test_a_foreign_engine_gets_what_it_reads(address: str) -> None:
    assert _parse(edited(ADDRESS, address), foreign_engine=True)


@pytest.mark.parametrize("address", ["udp://:1", "srt://h:1", "base64://127.0.0.1:1/x", "rtsps://h/1", "rtmps://h/1"])
def test_a_foreign_engine_does_not_get_what_it_crashes_of(address: str) -> None:
    with pytest.raises(BadRequestError, match="sophon-stream reads no"):
        _parse(edited(ADDRESS, address), foreign_engine=True)


@pytest.mark.parametrize(
    ("address", "accepted"),
    [
        ("http://u:p@ss/w?rd@127.0.0.1:80/x", True),
        ("http://u:a b@127.0.0.1:80/x", True),
        ("http://127.0.0.1:80/a b", False),
    ],
)
def test_a_report_address_may_have_any_password(address: str, accepted: bool) -> None:
    body = edited(URLS, [address])
    if accepted:
        assert _parse(body).reporting.report_urls == [address]
    else:
        with pytest.raises(BadRequestError, match="http://host:port/path"):
            _parse(body)


@pytest.mark.parametrize("value", ["TCP", "", 1, "rtp"])
def test_the_transport_is_tcp_udp_or_auto(value: object) -> None:
    for good in ("tcp", "udp", "auto"):
        assert _parse(edited((*ALGORITHM, "Extend"), {"Transport": good}))
    with pytest.raises(BadRequestError, match=r"Extend\.Transport: .*use tcp, udp or auto"):
        _parse(edited((*ALGORITHM, "Extend"), {"Transport": value}))


@pytest.mark.parametrize(
    ("sent", "becomes"),
    [
        ("RTSP://User:PassWord@Host/Path", "rtsp://User:PassWord@Host/Path"),
        ("Http://h/A.flv", "http://h/A.flv"),
    ],
)
def test_a_scheme_in_capitals_is_the_same_scheme(sent: str, becomes: str) -> None:
    assert canonical(_parse(edited(ADDRESS, sent)))["InputSrc"]["StreamSrc"]["Address"] == becomes


def test_the_hash_follows_the_meaning_and_not_the_spelling() -> None:
    plain = spec_hash(canonical(_parse(NEW_TASK_BODY)))
    reordered = dict(reversed(NEW_TASK_BODY.items()))
    assert spec_hash(canonical(_parse(reordered))) == plain
    assert spec_hash(canonical(_parse(edited((*ALGORITHM, "threshold"), 0.5)))) == plain
    assert spec_hash(canonical(_parse(edited((*ALGORITHM, "threshold"), 51)))) != plain
    assert spec_hash(canonical(_parse(edited((*ALGORITHM, "Extend"), {"own": 1})))) != plain


@pytest.mark.parametrize("threshold", [1e-9, 0.004, 0.01, 0.5, 0.999, 1, 99.9])
def test_a_canonical_request_parses_to_itself(threshold: float) -> None:
    content = canonical(_parse(edited((*ALGORITHM, "threshold"), threshold)))
    assert canonical(_parse(content)) == content


@pytest.mark.parametrize(("body", "message"), NOT_JSON, ids=lambda value: str(value)[:40])
def test_a_body_that_is_no_json_object_is_told_where(body: bytes, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        _parse(body)
    assert message in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named_with_its_path_and_the_cure(path: tuple[Step, ...], value: Any, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        _parse(edited(path, value))
    assert message in str(caught.value)
    assert caught.value.path.startswith("$")


def test_too_many_corners_in_all_areas_together_are_refused() -> None:
    area = [{"X": x, "Y": x * x} for x in range(200)]
    with pytest.raises(BadRequestError, match="the areas have 1200 corners together; at most 1000"):
        _parse(edited((*ALGORITHM, "DetectInfos"), [{"HotArea": area}] * 6))


def test_an_unknown_type_has_a_number_of_its_own() -> None:
    with pytest.raises(UnknownAlgorithmError) as caught:
        _parse(edited((*ALGORITHM, "Type"), 9))
    assert (caught.value.code, caught.value.path) == (4002, "$.Algorithm[0].Type")


def test_a_body_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(BodyTooLargeError, match="larger than 1000000 bytes"):
        _parse(b"\xff" * (_MAX_BYTES + 1))
    exactly = json.dumps(NEW_TASK_BODY).encode().ljust(_MAX_BYTES)
    assert _parse(exactly).task_id == "t1"


def test_a_utf8_mark_before_the_body_is_no_harm() -> None:
    assert _parse(b"\xef\xbb\xbf" + json.dumps(NEW_TASK_BODY).encode()).task_id == "t1"


@pytest.mark.parametrize(("body", "name"), [(b'{"TaskID":"t 1"}', "t 1"), (b'{"TaskID":5,"x":1}', "5")])
def test_a_task_is_named_by_text_or_number(body: bytes, name: str) -> None:
    assert parse_task_id(body, max_bytes=_MAX_BYTES).task_id == name


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"TaskID":null}', b'{"TaskID":[]}', b'{"TaskID":"a\\u0000"}'])
def test_a_task_that_is_not_named_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_task_id(body, max_bytes=_MAX_BYTES)


def test_every_single_value_replaced_by_every_kind_gives_a_request_or_one_of_our_errors() -> None:
    kinds: list[Any] = [None, True, 0, -1, 2**40, 1.5, "", "x", "车\u200d", [], [[]], [None], {}, {"X": 1}]
    paths = list(_paths(NEW_TASK_BODY))
    assert len(paths) > 30
    for path in paths:
        for value in kinds:
            try:
                canonical(_parse(edited(path, value)))
            except StreamServerError as e:
                assert str(e).startswith("$")


def _paths(value: Any, at: tuple[Step, ...] = ()) -> list[tuple[Step, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [at] if at else []
    for step, child in steps:
        found.extend(_paths(child, (*at, step)))
    return found
