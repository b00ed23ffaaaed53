"""Session descriptions: our offers line by line, devices' answers however they are written; and MANSCDP bodies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import parse_gb28181
from streamserver.media.gb28181 import manscdp
from streamserver.media.gb28181.sdp import Offer, new_ssrc, offer_body, parse_answer

CHANNEL = "34020000001320000001"
ANSWER = (
    "v=0\r\no=34020000001320000001 0 0 IN IP4 192.0.2.5\r\ns=Play\r\nc=IN IP4 192.0.2.6\r\nt=0 0\r\n"
    "m=video 30002 TCP/RTP/AVP 96 98\r\na=setup:ACTIVE\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\n"
    "a=rtpmap:98 H264/90000\r\na=filesize:1024\r\ny=0200001234\r\nf=\r\n"
)


def offer(**changes: object) -> str:
    fields: dict[str, object] = {"media_ip": "192.0.2.1", "media_port": 40002, "transport": "udp", "ssrc": "0200001234"}
    return offer_body(Offer(**(fields | changes)), device_id=CHANNEL).decode()  # type: ignore[arg-type]


def test_a_live_offer_has_the_lines_of_the_standard_in_their_order() -> None:
    assert offer().split("\r\n") == [
        "v=0",
        f"o={CHANNEL} 0 0 IN IP4 192.0.2.1",
        "s=Play",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=video 40002 RTP/AVP 96 98 99",
        "a=recvonly",
        "a=rtpmap:96 PS/90000",
        "a=rtpmap:98 H264/90000",
        "a=rtpmap:99 H265/90000",
        "y=0200001234",
        "",
    ]


def test_a_playback_offer_names_the_recording_and_its_span() -> None:
    begin, end = datetime.fromtimestamp(1698133927, UTC), datetime.fromtimestamp(1698135715, UTC)
    lines = offer(begin=begin, end=end, device_type=3).split("\r\n")
    assert lines[2:6] == ["s=Playback", f"u={CHANNEL}:3", "c=IN IP4 192.0.2.1", "t=1698133927 1698135715"]
    assert f"u={CHANNEL}:0" in offer(begin=begin, end=end)


@pytest.mark.parametrize(("transport", "setup"), [("tcp-passive", "passive"), ("tcp-active", "active")])
def test_an_offer_over_tcp_says_who_connects(transport: str, setup: str) -> None:
    lines = offer(transport=transport).split("\r\n")
    assert "m=video 40002 TCP/RTP/AVP 96 98 99" in lines
    assert lines[-4:] == [f"a=setup:{setup}", "a=connection:new", "y=0200001234", ""]


def test_an_offer_over_ip_version_6_says_so() -> None:
    assert "c=IN IP6 2001:db8::1\r\n" in offer(media_ip="2001:db8::1")


def test_an_address_makes_its_offer() -> None:
    address = parse_gb28181(
        "gb28181_playback://34020000002000000001:p@192.0.2.9:5060?deviceid=34020000001320000001"
        "#devicetype=3#begtime=20231024155207#endtime=20231024162155"
    )
    made = Offer.for_address(address, media_ip="192.0.2.1", media_port=4, transport="udp")
    assert made.playback
    assert made.ssrc.startswith("120000")
    assert b"t=1698133927 1698135715" in offer_body(made, device_id=address.device_id)


def test_an_ssrc_has_ten_digits_kind_domain_and_serial() -> None:
    for _ in range(50):
        live = new_ssrc("34020012002000000001", playback=False)
        assert (len(live), live[:6], live.isdigit()) == (10, "020012", True)
    assert new_ssrc("34020012002000000001", playback=True)[0] == "1"


def test_an_answer_is_read() -> None:
    answer = parse_answer(ANSWER.encode())
    assert (answer.media_ip, answer.media_port, answer.ssrc) == ("192.0.2.6", 30002, "0200001234")
    assert answer.payloads == {96: "PS/90000", 98: "H264/90000"}


@pytest.mark.parametrize(
    ("old", "new", "name", "value"),
    [
        ("c=IN IP4 192.0.2.6\r\n", "", "media_ip", "192.0.2.5"),
        ("\r\n", "\n", "media_port", 30002),
        ("y=0200001234", "y=200001234", "ssrc", "0200001234"),
        ("y=0200001234", "y=none", "ssrc", None),
        ("a=rtpmap:96 PS/90000\r\n", "", "payloads", {96: "PS/90000", 98: "H264/90000"}),
        ("AVP 96 98", "AVP 97 98", "payloads", {98: "H264/90000"}),
        ("s=Play", "s=\xb5\xe3\xb2\xa5", "media_port", 30002),
    ],
)
def test_an_answer_may_be_written_otherwise(old: str, new: str, name: str, value: object) -> None:
    assert getattr(parse_answer(ANSWER.replace(old, new).encode("latin-1")), name) == value


@given(st.one_of(st.binary(max_size=300), st.text(max_size=60).map(lambda text: (ANSWER + text).encode())))
def test_no_answer_can_break_us(body: bytes) -> None:
    try:
        assert parse_answer(body).media_port > 0
    except SourceError as e:
        assert e.message.startswith("the device's answer")


@pytest.mark.parametrize("encoding", ["GB2312", "gb18030", "UTF-8"])
def test_a_command_is_read_in_the_encoding_that_it_names(encoding: str) -> None:
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
    <Notify><CmdType>MediaStatus</CmdType><SN>8</SN><DeviceID>通道</DeviceID><NotifyType>121</NotifyType></Notify>"""
    command = manscdp.parse(text.encode(encoding))
    assert command is not None
    assert (command.kind, command.serial, command.device_id, command.source_ended) == ("Notify", "8", "通道", True)


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        (b"<Notify><CmdType>MediaStatus</CmdType><NotifyType>122</NotifyType></Notify>", False),
        (b"<Notify><CmdType>Alarm</CmdType><NotifyType>121</NotifyType></Notify>", False),
    ],
)
def test_other_notices_end_nothing(body: bytes, ended: bool) -> None:
    command = manscdp.parse(body)
    assert command is not None
    assert command.source_ended is ended


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a",
        b"plain",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>" * 30_000,
    ],
)
def test_what_is_no_command_is_left_alone(body: bytes) -> None:
    assert manscdp.parse(body) is None


@given(st.binary(max_size=200))
def test_no_body_can_break_us(body: bytes) -> None:
    for whole in (body, b"<Query><CmdType>" + body + b"</CmdType></Query>"):
        command = manscdp.parse(whole)
        if command is not None:
            manscdp.answer(command, "34020000004000000001")


@pytest.mark.parametrize("name", ["Catalog", "DeviceInfo", "DeviceStatus", "RecordInfo"])
def test_a_query_is_answered_with_its_serial_number(name: str) -> None:
    us = "34020000004000000001"
    query = manscdp.Command(kind="Query", name=name, serial="17<&", device_id=us)
    body = manscdp.answer(query, us)
    assert body is not None
    answer = manscdp.parse(body)
    assert answer == manscdp.Command(kind="Response", name=name, serial="17<&", device_id=us)
    assert manscdp.answer(manscdp.Command(kind="Control", name=name), us) is None
