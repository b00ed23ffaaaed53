"""No address, however odd, does worse than a refusal that names its place, and none is quoted with its password."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamserver.core.errors import BadRequestError
from streamserver.core.examples import NEW_TASK_BODY
from streamserver.core.messages import CreateRequest, parse_create

SCHEMES = ["rtsp", "rtsps", "rtmp", "http", "https", "udp", "srt", "gb28181", "gb28181_playback", "base64", "file", "x"]
PIECES = [
    "://",
    "/",
    "[",
    "]",
    "::1",
    "@",
    ":",
    "127.0.0.1",
    "host",
    "65536",
    "?deviceid=",
    "#begtime=",
    "%",
    "%zz",
    "²",
]
ADDRESSES = st.builds(
    lambda scheme, pieces: scheme + "".join(pieces),
    st.sampled_from([*(f"{scheme}://" for scheme in SCHEMES), "/dev/video", "/", ""]),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=8),
)


def body(source: Any, reports: Any) -> bytes:
    content = NEW_TASK_BODY | {"InputSrc": {"SrcID": "c", "StreamSrc": source}, "Reporting": {"ReportUrlList": reports}}
    return json.dumps(content).encode()


def create(content: bytes, *, foreign: bool = False) -> CreateRequest:
    return parse_create(
        content,
        known_types={1: "tripwire"},
        max_bytes=1_000_000,
        events_kept_locally=True,
        source_exists=lambda path: False,
        foreign_engine=foreign,
    )


@given(ADDRESSES, st.booleans())
@example("file://[x", False)
@example("http://[::1", False)
def test_an_odd_address_is_taken_or_refused_by_name(address: str, foreign: bool) -> None:
    for content, place in (
        (body({"Address": address}, []), "$.InputSrc.StreamSrc.Address: "),
        (body({"Address": "rtsp://h/"}, [address]), "$.Reporting.ReportUrlList[0]: "),
    ):
        try:
            create(content, foreign=foreign)
        except BadRequestError as e:
            assert str(e).startswith(place)
            assert e.cure


@pytest.mark.parametrize(
    ("source", "reports"),
    [
        ("{}", []),
        (["{}"], []),
        ({"Address": ["{}"]}, []),
        ({"Address": "ftp{}"}, []),
        ({"address": "{}"}, []),
        ({"Address": "{}\0"}, []),
        ({"Address": "rtsp://h/"}, "{}"),
        ({"Address": "rtsp://h/"}, [["{}"]]),
        ({"Address": "rtsp://h/"}, ["{}"]),
        ({"Address": "rtsp://h/", "{}": 1, "{}" * 200: 2}, 1),
    ],
)
def test_an_address_in_the_wrong_place_is_not_quoted_with_its_password(source: Any, reports: Any) -> None:
    password = "Qz1 p@ss:w/o#r?d%&+ 'äQz2"
    text = json.dumps([source, reports]).replace("{}", f"rtsp://us er:{password}@host/cam")
    with pytest.raises(BadRequestError) as caught:
        create(body(*json.loads(text)))
    assert not [piece for piece in ("Qz1", "ss:w", "o#r", "Qz2") if piece in str(caught.value)]
