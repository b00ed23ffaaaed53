from __future__ import annotations

import base64
import json
import math
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from streamserver.core.wire_json import from_json, report_to_json, to_json


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": [1, 2.5, -0.0, 1e3, true, null, "\xe4\xb8\x80"], "a": {}}',
        b"123456789012345678901234567890",
        b"1e999",
        b"[NaN, -Infinity]",
        b'"\\ud800"',
        '{"a": "一"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
    ],
    ids=["plain", "large", "infinite", "nan", "surrogate", "utf-16", "mark"],
)
def test_what_json_reads_is_read_alike(data: bytes) -> None:
    assert repr(from_json(data)) == repr(json.loads(data))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'"\xff"', b"{} x", b"9" * 5000], ids=repr)
def test_what_json_refuses_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        json.loads(data)
    with pytest.raises(ValueError):
        from_json(data)


@pytest.mark.parametrize(
    "report",
    [
        {"b": 1, "a": [1.5, 2**70, '一/\\"\n', None, True]},
        {"Extend": {1: 2, 1.5: 3, None: 4, False: 5}},
        {"colour": Colour.RED, "number": Number.ONE, "tuple": (1, 2)},
        {"text": "half a \ud800 pair"},
    ],
    ids=["plain", "odd keys", "enums", "surrogate"],
)
def test_a_report_is_what_json_makes_of_it(report: dict[str, Any]) -> None:
    assert json.loads(report_to_json(report)) == json.loads(json.dumps(report))


def test_a_message_has_its_keys_in_order_no_blanks_and_bytes_as_base64() -> None:
    jpeg = bytes(range(256))
    body = to_json({"b": {"z": 1, "a": jpeg}, "a": [0.5, b"", "一"]})
    picture = base64.b64encode(jpeg).decode()
    assert body.decode() == f'{{"a":[0.5,"","一"],"b":{{"a":"{picture}","z":1}}}}'


def test_a_number_that_json_does_not_know_is_null_as_sophon_stream_writes_it() -> None:
    assert to_json([math.nan, math.inf]) == b"[null,null]"
