from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from streamserver.core.errors import AlarmRefusedError, DeliveryError
from streamserver.sinks.answers import Answer, problem_of, seconds_of

NEW_YEAR = "Wed, 31 Dec 2025 23:59:50 GMT"


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (200, b"", None),
        (204, b"", None),
        (299, b"whatever", None),
        (200, b'{"code":0,"msg":"ok"}', None),
        (200, b'{"code":200}', None),
        (200, b'{"code":1,"msg":"?"}', None),
        (200, b'{"code":"-1"}', None),
        (200, b'{"code":false}', None),
        (200, b'{"code":[-1]}', None),
        (200, b'[{"code":-1}]', None),
        (200, b'{"data":{"code":-1}}', None),
        (200, b"[" * 100_000, None),
        (200, '{"code":-1,"msg":"参数错误"}'.encode(), AlarmRefusedError),
        (200, b'{"code":-1,"msg":"picture save error"}', AlarmRefusedError),
        (200, b'{"Code":-1,"Msg":"Picture Save Error"}', AlarmRefusedError),
        (200, b'{"code":-1,"msg":"database is locked"}', DeliveryError),
        (200, b'{"code":-1}', DeliveryError),
        (200, b'{"code":-1,"msg":null}', DeliveryError),
        (200, b' { "code": -1, "msg": "picture sa', AlarmRefusedError),
        (200, b'{"code":-1,', DeliveryError),
        (200, b'{"code":-12,', None),
        (302, b"", DeliveryError),
        (400, b"", AlarmRefusedError),
        (401, b"", DeliveryError),
        (404, b"", DeliveryError),
        (408, b"", DeliveryError),
        (413, b"", AlarmRefusedError),
        (415, b"", AlarmRefusedError),
        (422, b"", AlarmRefusedError),
        (429, b"", DeliveryError),
        (500, b"", DeliveryError),
        (503, '{"code":-1,"msg":"参数错误"}'.encode(), DeliveryError),
    ],
    ids=range(32),
)
def test_what_an_answer_means(status: int, reply: bytes, kind: type[DeliveryError] | None) -> None:
    problem = problem_of("http://h/", Answer(status, reply))
    assert type(problem) is (kind or type(None))


def test_another_code_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert problem_of("http://h/", Answer(200, b'{"code":7,"msg":"seven"}')) is None
    assert "took the alarm, but answered" in caplog.text and "seven" in caplog.text


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("", "", None),
        ("120", "", 120.0),
        (" 0 ", "", 0.0),
        ("9" * 400, "", 999_999_999_999.0),
        ("-5", "", None),
        ("1.5", "", None),
        ("²", "", None),
        ("soon", "", None),
        ("Wed, 99 Dec 2025 23:59:50 GMT", "", None),
        ("Thu, 01 Jan 2026 00:00:20 GMT", NEW_YEAR, 30.0),
        (NEW_YEAR, "Thu, 01 Jan 2026 00:00:20 GMT", 0.0),
        (NEW_YEAR, "", 0.0),
    ],
    ids=range(12),
)
def test_retry_after_in_seconds(text: str, date: str, seconds: float | None) -> None:
    assert seconds_of(text, date) == seconds


def test_a_date_without_another_is_held_against_the_clock() -> None:
    seconds = seconds_of(formatdate(time.time() + 1000, usegmt=True))
    assert seconds is not None and 0 < seconds <= 1000


@pytest.mark.parametrize("status", [200, 413, 429, 503])
def test_every_failure_carries_retry_after(status: int) -> None:
    problem = problem_of("http://h/", Answer(status, b'{"code":-1}', retry_after="7"))
    assert problem is not None and problem.retry_after_s == 7.0
