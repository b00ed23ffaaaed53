"""The receivers misbehave as told, and their ledgers hold exactly what they took."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request

import pytest

from tests.chaos.receivers import Mode, Receiver, receivers

REPORT = {"TaskID": "t", "FrameIndex": 7, "AnalyzeEvents": [{"Box": {"LeftTopX": 1}}]}


def post(receiver: Receiver, body: object, *, timeout_s: float = 30.0) -> tuple[int, bytes]:
    headers = {"X-Alarm-Id": "a1", "X-Attempt": "2"}
    request = urllib.request.Request(receiver.url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def test_a_report_that_is_taken_is_written_down_with_task_attempt_and_place() -> None:
    with receivers(2) as several:
        assert post(several[1], [REPORT])[0] == 200
        (row,) = several.all()
        assert (row.alarm_id, row.task_id, row.attempt, row.place) == ("a1", "t", 2, '7 {"LeftTopX": 1}')
        assert several.counts() == {"a1": 1}
        assert (several[1].posts, several[1].busiest, several.protests()) == (1, 1, [])


@pytest.mark.parametrize(
    ("mode", "status", "answer"),
    [
        pytest.param(Mode.REFUSE, 200, "参数错误", id="refuse"),
        pytest.param(Mode.UNAVAILABLE, 503, "upgrading", id="unavailable"),
    ],
)
def test_what_is_refused_is_not_written_down(mode: Mode, status: int, answer: str) -> None:
    with receivers(1) as several:
        several[0].mode = mode
        got, content = post(several[0], [REPORT])
        assert (got, answer in content.decode()) == (status, True)
        assert several.all() == []


def test_one_that_closes_gives_no_answer() -> None:
    with receivers(1) as several:
        several[0].mode = Mode.CLOSE
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            post(several[0], [REPORT])
        assert several.all() == []


def test_one_that_trickles_is_not_done_within_its_first_bytes() -> None:
    with receivers(1) as several:
        several[0].mode = Mode.TRICKLE
        connection = http.client.HTTPConnection("127.0.0.1", several[0].port, timeout=30)
        connection.request("POST", "/api/upload", json.dumps([REPORT]))
        assert connection.sock is not None
        assert connection.sock.recv(1) == b"H"
        connection.close()
        assert several.all() == []


def test_a_deaf_one_refuses_connections_and_takes_reports_again_at_the_same_address() -> None:
    with receivers(1) as several:
        url = several[0].url
        several[0].deafen()
        with pytest.raises(urllib.error.URLError, match="refused"):
            post(several[0], [REPORT])
        several[0].listen()
        assert several[0].url == url
        assert post(several[0], [REPORT])[0] == 200


def test_what_is_no_report_is_protested_against() -> None:
    with receivers(1) as several:
        assert post(several[0], {"TaskID": "t"})[0] == 200
        assert len(several.protests()) == 1
        assert several.all() == []
