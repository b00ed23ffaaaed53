from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.business.app import create_app
from streamserver.business.config import AlgorithmSpec
from streamserver.business.server import AppServer
from streamserver.business.session import AlgorithmSession
from streamserver.core.errors import ConfigError, PortError, StoreError
from streamserver.outbox.box import Outbox, PendingEvent
from tests.business.support import PICTURE, TAKEN, make_project, message, with_pictures

WANTED = {**TAKEN, "pictures": True}


class House:
    """A session of each small algorithm behind a real server."""

    def __init__(self, folder: Path, *, replayable: bool = True) -> None:
        project = make_project(folder / "project")
        self.outbox = Outbox(folder / "outbox.sqlite")
        names = {1: "everyone", 2: "settled"}
        self.sessions = [
            AlgorithmSession(
                plugins.load(name, project=project),
                AlgorithmSpec(index=i, type=number, name=name, request={"Type": number, "DetectInterval": 3}),
                outbox=self.outbox,
                task_id="任务 1",
                src_id="cam1",
                replayable=replayable,
            )
            for i, (number, name) in enumerate(names.items())
        ]
        self.server = AppServer("127.0.0.1", 0, create_app(self.sessions), max_body_bytes=1_000_000)
        self.server.start()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)

    def send(self, body: bytes, path: str = "/flask_test/0", method: str = "POST") -> tuple[int, Any]:
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def post(self, posted: dict[str, Any], index: int = 0) -> Any:
        status, reply = self.send(json.dumps(posted).encode(), f"/flask_test/{index}")
        assert status == 200
        return reply

    def alarms(self) -> list[dict[str, Any]]:
        claimed: list[PendingEvent] = []
        while found := self.outbox.claim(1000):
            claimed += found
        self.outbox.unclaim([event.id for event in claimed])
        reports = [json.loads(event.body) for event in sorted(claimed, key=lambda event: event.id)]
        assert all(len(report) == 1 for report in reports)
        return [report[0] for report in reports]

    def close(self) -> None:
        self.connection.close()
        self.server.stop()
        self.outbox.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_a_frame_without_anything_is_taken_and_that_is_all(house: House) -> None:
    assert house.post(message(0)) == TAKEN
    assert house.alarms() == [] and house.sessions[0].received == 1


def test_pictures_are_asked_for_only_when_something_is_to_be_reported(house: House) -> None:
    posted = message(6, [7])
    assert house.post(posted) == WANTED
    assert house.alarms() == []
    assert house.post(with_pictures(posted)) == TAKEN
    assert house.alarms() == [
        {
            "TaskID": "任务 1",
            "SrcID": "cam1",
            "FrameIndex": 6,
            "SceneImageBase64": PICTURE,
            "AnalyzeEvents": [
                {
                    "ImageBase64": PICTURE,
                    "Type": 1,
                    "Box": {"LeftTopY": 20, "RightBtmY": 60, "LeftTopX": 70, "RightBtmX": 100},
                    "Extend": {"类别": 0, "step": 6},
                }
            ],
        }
    ]


def test_a_message_that_brings_its_picture_is_reported_at_once(house: House) -> None:
    assert house.post(message(6, [7, 8], picture=PICTURE, sequence=None)) == TAKEN
    [alarm] = house.alarms()
    assert [event["Box"]["LeftTopX"] for event in alarm["AnalyzeEvents"]] == [70, 80]
    assert alarm["AnalyzeEvents"][0]["Extend"]["step"] == 2  # frame 6 of an interval of 3


def test_pictures_of_events_that_came_in_vain_are_told_of_and_only_those(house: House) -> None:
    foreseen: dict[str, Any] = {"mEvents": [], "mEventPictures": []}
    assert house.post(with_pictures(message(6)) | foreseen) == {**TAKEN, "pictures": False}
    wanted = with_pictures(message(7, [7])) | foreseen
    assert [house.post(wanted), house.post(wanted)] == [TAKEN, TAKEN]
    assert house.post(message(8, picture=PICTURE, sequence=None)) == TAKEN, "a binary always brings its picture"


def test_a_message_that_comes_twice_is_answered_again_and_not_counted_again(house: House) -> None:
    posted = message(6, [7])
    assert [house.post(posted) for _ in range(3)] == [WANTED] * 3
    assert [house.post(with_pictures(posted)) for _ in range(3)] == [TAKEN] * 3
    assert house.post(posted) == TAKEN
    assert len(house.alarms()) == 1 and house.sessions[0].received == 1


def test_a_repeated_frame_does_not_count_as_presence(house: House) -> None:
    for _ in range(5):
        assert house.post(message(0, [7]), 1) == TAKEN
    assert house.post(message(1, [7]), 1) == TAKEN
    assert house.post(message(2, [7]), 1) == WANTED


def test_presence_starts_anew_when_the_source_starts_over(house: House) -> None:
    for frame_id in (0, 1):
        house.post(message(frame_id, [7]), 1)
    for frame_id, expected in ((0, TAKEN), (1, TAKEN), (2, WANTED)):
        assert house.post(message(frame_id, [7], sequence=frame_id + 2, loop=1), 1) == expected


def test_a_binary_s_frames_are_counted_by_the_detect_interval(house: House) -> None:
    replies = [house.post(message(frame_id, [7], sequence=None), 1) for frame_id in (0, 3, 9, 12, 15)]
    assert replies == [TAKEN, TAKEN, TAKEN, TAKEN, WANTED]  # frame 6 was not pushed: absence


def test_a_binary_s_second_loop_is_another_place(house: House) -> None:
    for frame_id in (0, 3, 0, 3):
        house.post(message(frame_id, [7], sequence=None, picture=PICTURE))
    assert len(house.alarms()) == 4


def test_the_same_frame_of_a_file_played_again_raises_no_second_alarm(tmp_path: Path) -> None:
    for run in range(2):
        house = House(tmp_path / str(run))
        house.outbox.close()
        house.outbox = Outbox(tmp_path / "shared.sqlite")
        for session in house.sessions:
            session._outbox = house.outbox
        house.post(with_pictures(message(6, [7])))
        assert len(house.alarms()) == 1
        house.close()


def test_the_same_frame_number_of_a_camera_is_another_alarm(tmp_path: Path) -> None:
    house = House(tmp_path, replayable=False)
    house.post(with_pictures(message(6, [7], sequence=6)))
    house.post(with_pictures(message(6, [7], sequence=900)))
    assert len(house.alarms()) == 2
    house.close()


def test_algorithms_do_not_see_each_other_s_frames(house: House) -> None:
    for frame_id in range(3):
        house.post(with_pictures(message(frame_id, [7])), 0)
    assert house.post(message(3, [7]), 1) == TAKEN
    assert [session.received for session in house.sessions] == [3, 1]


@pytest.mark.parametrize("path", ["/flask_test/", "/flask_test"])
def test_the_old_path_is_the_first_algorithm(house: House, path: str) -> None:
    assert house.send(json.dumps(message(0, [7])).encode(), path) == (200, WANTED)
    assert house.sessions[0].received == 1


@pytest.mark.parametrize("path", ["/flask_test/2", "/flask_test/-1", "/flask_test/x", "/flask_test/%E4%B8%80", "/flask_test/99999999999", "/", "/x"])  # fmt: skip  # noqa: E501
def test_an_unknown_path_is_404_in_json(house: House, path: str) -> None:
    status, reply = house.send(json.dumps(message(0)).encode(), path)
    assert status == 404 and reply["response"] == 0 and reply["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PROPFIND"])
def test_an_unknown_method_is_405_in_json(house: House, method: str) -> None:
    status, reply = house.send(b"", method=method)
    assert (status, reply["response"]) == (405, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"mFrame":{}}',
        b'{"mFrame":{"mFrameId":"x"}}',
        b'{"mFrame":{"mFrameId":1e999}}',
        b'{"mFrame":{"mFrameId":' + b"9" * 5000 + b"}}",
        b'{"mFrame":{"mFrameId":1},"mDetectedObjectMetadatas":7}',
        b'{"mFrame":{"mFrameId":1},"mDetectedObjectMetadatas":[{"mBox":{"mX":1e999,"mY":0,"mWidth":1,"mHeight":1}}]}',
        b"[" * 100_000,
        b'{"error":1,"mFrame":5}',
    ],
)
def test_what_cannot_be_read_is_400_in_json_and_changes_nothing(house: House, body: bytes) -> None:
    status, reply = house.send(body)
    assert (status, reply["response"]) == (400, 0) and reply["message"].startswith("cannot be used: ")
    assert house.post(message(0)) == TAKEN
    assert house.sessions[0].received == 1


@pytest.mark.parametrize("name", ["SUCCESS", "DATA_PIPE_FULL", 5, None])
def test_an_engine_s_error_report_is_answered_as_before(
    house: House, name: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="streamserver")
    assert house.post({"error": name}) == {"message": "error", "response": -1}
    [record] = [r for r in caplog.records if "the engine reports" in r.message]
    assert record.levelno == (logging.DEBUG if name == "SUCCESS" else logging.WARNING)


def test_a_sample_that_raises_costs_its_frame_only(house: House, caplog: pytest.LogCaptureFixture) -> None:
    assert house.post(message(0, [13])) == TAKEN
    assert house.post(with_pictures(message(1, [666]))) == TAKEN
    assert house.post(with_pictures(message(2, [7]))) == TAKEN
    assert len(house.alarms()) == 1 and house.sessions[0].failures == 2
    assert "everyone: 2 frames failed, the last with:" in house.sessions[0].last_error
    assert "six six six" in house.sessions[0].last_error and "Traceback" in caplog.text


def test_an_alarm_that_cannot_be_kept_is_503_and_kept_when_the_frame_comes_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(events: Any, memory: Any) -> int:
        raise StoreError("disk full", cure="free some")

    body = json.dumps(with_pictures(message(0, [7]))).encode()
    with monkeypatch.context() as patch:
        patch.setattr(house.outbox, "add", disk_full)
        assert house.send(body) == (503, {"message": "disk full; free some", "response": 0})
    assert house.send(body) == (200, TAKEN)
    assert len(house.alarms()) == 1


def test_an_alarm_of_which_nobody_knew_whether_it_was_kept_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, replayable=False)
    add = house.outbox.add

    def unclear(events: Any, memory: Any) -> int:
        add(events, memory)
        raise StoreError("disk I/O error")

    body = json.dumps(with_pictures(message(0, [7]))).encode()
    with monkeypatch.context() as patch:
        patch.setattr(house.outbox, "add", unclear)
        assert house.send(body)[0] == 503
    assert house.send(body) == (200, TAKEN)
    assert len(house.alarms()) == 1
    house.close()


def test_an_error_of_ours_is_500_in_json(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(posted: Any) -> bool:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(house.sessions[0], "handle", broken)
    status, reply = house.send(json.dumps(message(0)).encode())
    assert (status, reply["response"]) == (500, 0) and "ZeroDivisionError" in reply["message"]


def test_a_picture_that_is_missing_after_all_does_not_lose_the_alarm(house: House) -> None:
    posted = message(0, [7])
    assert house.post(posted) == WANTED
    assert house.post({**posted, "mCrops": []}) == TAKEN
    assert len(house.alarms()) == 1


def test_many_threads_get_their_frames_through(house: House) -> None:
    failed: list[Any] = []

    def send(start: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", house.server.port, timeout=60)
        for frame_id in range(start, start + 25):
            connection.request("POST", "/flask_test/0", json.dumps(with_pictures(message(frame_id, [7]))))
            reply = json.loads(connection.getresponse().read())
            if reply != TAKEN:
                failed.append(reply)
        connection.close()

    threads = [threading.Thread(target=send, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(house.alarms()) == 100


def test_what_is_remembered_of_frames_is_bounded(house: House) -> None:
    for frame_id in range(300):
        house.sessions[0].handle(message(frame_id, [7]))
    assert len(house.sessions[0]._seen) <= 64


def test_one_connection_serves_many_frames(house: House) -> None:
    house.post(message(0))
    kept = house.connection.sock
    for frame_id in range(1, 50):
        house.post(message(frame_id))
    assert house.connection.sock is kept
    assert house.send(b"{")[0] == 400 and house.connection.sock is kept


def raw(house: House, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", house.server.port), timeout=60) as sock:
        sock.sendall(request)
        reply = b""
        while chunk := sock.recv(65_536):
            reply += chunk
    return reply


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 1000001\r\n\r\n" + b"x" * 1_000_001, b"413"),
        (b"Content-Length: -5\r\n\r\n", b"400"),
        (b"Content-Length: x\r\n\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
    ],
)
def test_bodies_that_are_not_taken_get_an_answer_and_the_connection_is_closed(
    house: House, head: bytes, status: bytes
) -> None:
    reply = raw(house, b"POST /flask_test/ HTTP/1.1\r\nHost: x\r\n" + head)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["response"] == 0


def test_what_a_binary_sends_is_understood(house: House) -> None:
    """cpp-httplib as sophon-stream uses it: one connection a message."""
    body = json.dumps(message(0)).encode()
    head = (
        b"POST /flask_test/ HTTP/1.1\r\nAccept: */*\r\nConnection: close\r\nContent-Length: %d\r\n"
        b"Content-Type: application/json\r\nHost: 127.0.0.1:1\r\nUser-Agent: cpp-httplib/0.12.0\r\n\r\n"
    )
    reply = raw(house, head % len(body) + body)
    assert reply.startswith(b"HTTP/1.1 200") and json.loads(reply.partition(b"\r\n\r\n")[2]) == TAKEN


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST /flask_test/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"])  # fmt: skip  # noqa: E501
def test_noise_on_the_port_harms_nobody(house: House, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", house.server.port), timeout=60) as sock:
        sock.sendall(request_)
    assert house.post(message(0)) == TAKEN


def test_after_the_stop_an_open_connection_gets_no_more_frames_through(house: House) -> None:
    house.post(message(0))
    house.server.stop()
    assert house.send(json.dumps(message(1)).encode())[0] == 503
    assert house.sessions[0].received == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", house.server.port), timeout=1)


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_told_apart(house: House) -> None:
    app = create_app([])
    with pytest.raises(PortError, match=f"port {house.server.port} of 127.0.0.1 cannot be used"):
        AppServer("127.0.0.1", house.server.port, app, max_body_bytes=1)
    with pytest.raises(ConfigError, match=r"cannot listen on '192\.0\.2\.1'"):
        AppServer("192.0.2.1", 0, app, max_body_bytes=1)


@pytest.mark.parametrize("field", [b"Origin: http://127.0.0.1", b"Origin: null", b"Sec-Fetch-Site: cross-site"])
def test_no_web_page_can_forge_frames(house: House, field: bytes) -> None:
    frame = json.dumps(message(6, [7], picture=PICTURE, sequence=None)).encode()
    head = b"POST /flask_test/0 HTTP/1.1\r\nContent-Type: text/plain\r\n%s\r\nContent-Length: %d\r\n\r\n"
    assert raw(house, head % (field, len(frame)) + frame).startswith(b"HTTP/1.1 403")
    assert house.alarms() == []
