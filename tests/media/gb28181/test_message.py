"""SIP messages: read whatever comes, and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.media.gb28181.answering import Answered, response_to
from streamserver.media.gb28181.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MalformedMessage,
    Request,
    Response,
    cut,
    parse,
    tag_of,
    uri_of,
    via_parameter,
)
from streamserver.media.gb28181.writer import accepted, acknowledgement, cancellation

BYE = (
    b"BYE sip:me@192.0.2.1:5060 SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 192.0.2.9:5060;rport;branch=z9hG4bK77\r\n"
    b"Via: SIP/2.0/TCP 192.0.2.10;branch=z9hG4bK66\r\n"
    b'f: "a; tag=no" <sip:them@3402000000;x=1>;tag=theirs\r\n'
    b"t: <sip:me@3402000000>\r\n"
    b" ;tag=ours\r\n"
    b"i: call-1\r\n"
    b"CSeq: 7 BYE\r\n"
    b"l: 0\r\n\r\n"
)
PIECES = st.sampled_from(
    b"SIP/2.0| 200 OK|BYE sip:a@b|\r\n|\n|\r| |:|Via|v: ;branch=|CSeq: 1 BYE|To: <sip:a>;tag=|Content-Length: |-1|5"
    b'|99999999999|\x00|\xff\xfe|\r\n\r\n|From: a|Call-ID: 1|Contact: <|Record-Route: <a>,<b|"|\xb2'
    b"|INVITE sip:a@b SIP/2.0\r\n".split(b"|")
)
GARBAGE = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join))


def test_compact_and_folded_headers_mean_the_same_as_long_ones() -> None:
    message = parse(BYE)
    assert isinstance(message, Request)
    assert (message.method, message.uri, message.body) == ("BYE", "sip:me@192.0.2.1:5060", b"")
    assert (message.call_id, message.cseq, message.branch) == ("call-1", (7, "BYE"), "z9hG4bK77")
    assert (tag_of(message.value("From")), tag_of(message.value("To"))) == ("theirs", "ours")
    assert len(message.values("via")) == 2


def test_our_answer_goes_the_way_back_that_the_request_came() -> None:
    message = parse(BYE)
    assert isinstance(message, Request)
    response = response_to(message, tag="x", sender=("192.0.2.8", 6060), ours=True)
    assert response is not None
    assert response.status == 200
    assert response.values("Via") == [
        "SIP/2.0/UDP 192.0.2.9:5060;received=192.0.2.8;rport=6060;branch=z9hG4bK77",
        "SIP/2.0/TCP 192.0.2.10;branch=z9hG4bK66",
    ]
    assert tag_of(response.value("To")) == "ours"
    again = parse(response.to_bytes())
    assert isinstance(again, Response)
    assert (again.status, again.phrase, again.cseq) == (200, "OK", (7, "BYE"))


@pytest.mark.parametrize(
    ("method", "ours", "status"),
    [
        ("BYE", True, 200), ("BYE", False, 481), ("INFO", True, 200), ("INFO", False, 481), ("MESSAGE", False, 200),
        ("NOTIFY", False, 200), ("OPTIONS", False, 200), ("INVITE", True, 488), ("CANCEL", False, 481),
        ("SUBSCRIBE", False, 405), ("ACK", True, None),
    ],
)  # fmt: skip
def test_each_kind_of_request_has_its_answer(method: str, ours: bool, status: int | None) -> None:
    request = parse(BYE.replace(b"BYE", method.encode()))
    assert isinstance(request, Request)
    response = response_to(request, tag="x", sender=("192.0.2.8", 6060), ours=ours)
    assert (response and response.status) == status


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [(b"i: call-1\r\n", b"", 400), (b"7 BYE", b"7 INVITE", 400), (b"7 BYE", b"BYE", 400), (b";branch=", b";b=", None)],
)
def test_a_request_that_lacks_what_it_needs_is_refused(old: bytes, new: bytes, status: int | None) -> None:
    request = parse(BYE.replace(old, new))
    assert isinstance(request, Request)
    response = response_to(request, tag="x", sender=("192.0.2.8", 6060), ours=True)
    assert (response and response.status) == status


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 999 Strange\r\n\r\n",
        b"BYE  sip:a SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nno header\r\n\r\n",
        b"SIP/2.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"SIP/2.0 200 OK\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"SIP/2.0 200 OK\r\na: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1),
    ],
)
def test_what_is_no_message_or_far_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data)


@pytest.mark.parametrize(
    ("length", "body"), [(b"l: 4\r\n", b"1234"), (b"l: 9\r\n", b"123456"), (b"", b"123456"), (b"l:0\r\n", b"")]
)
def test_a_body_is_as_long_as_it_says_and_as_there_is(length: bytes, body: bytes) -> None:
    assert parse(b"SIP/2.0 200 OK\r\n" + length + b"\r\n123456").body == body


@given(st.integers(1, 200))
def test_messages_are_cut_out_of_a_tcp_stream_whatever_its_pieces(size: int) -> None:
    message = BYE.replace(b"l: 0", b"l: 5") + b"12345"
    stream = b"\r\n\r\n" + message + b"\r\n" + message + message
    buffer, whole = bytearray(), []
    for start in range(0, len(stream), size):
        buffer += stream[start : start + size]
        while (found := cut(buffer)) is not None:
            whole.append(found)
    assert whole == [message] * 3


@pytest.mark.parametrize(
    "data",
    [
        b"a" * MAX_HEAD_BYTES,
        b"SIP/2.0 200 OK\r\nTo: a\r\n\r\n",
        b"SIP/2.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
def test_a_tcp_stream_without_messages_in_it_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        cut(bytearray(data))


@given(GARBAGE)
def test_no_bytes_from_the_network_can_break_what_reads_and_answers_them(data: bytes) -> None:
    try:
        message = parse(data)
    except MalformedMessage:
        return
    again = parse(message.to_bytes())
    assert (again.cseq, again.branch, again.call_id) == (message.cseq, message.branch, message.call_id)
    assert not set(tag_of(message.value("To")) + uri_of(message.value("Contact"))) & set("<> \r\n")
    if isinstance(message, Request):
        answer = response_to(message, tag="x", sender=("::1", 5060), ours=True)
        assert answer is None or parse(answer.to_bytes()).call_id == message.call_id
    else:
        assert message.in_words.isprintable()
        invite = parse(BYE.replace(b"BYE", b"INVITE"))
        assert isinstance(invite, Request)
        for ours in (acknowledgement(invite, message), cancellation(invite)):
            parse(ours.to_bytes())
        assert accepted(invite, message).call_id == "call-1"


@given(st.lists(GARBAGE, max_size=5))
def test_no_bytes_over_tcp_can_break_the_framing(pieces: list[bytes]) -> None:
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        try:
            while cut(buffer) is not None:
                pass
        except MalformedMessage:
            return
    assert len(buffer) < MAX_HEAD_BYTES + MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("value", "uri"),
    [
        ('"Camera, 1" <sip:a@b:5060;transport=tcp>;expires=5', "sip:a@b:5060;transport=tcp"),
        ("sip:a@b;expires=5, sip:c@d", "sip:a@b"),
        ("*", ""),
        ("<>", ""),
        ("", ""),
    ],
)
def test_the_address_in_a_contact_is_found(value: str, uri: str) -> None:
    assert uri_of(value) == uri


def test_parameters_of_the_first_via_only() -> None:
    via = "SIP/2.0/UDP a;received=192.0.2.1;rport=99;branch=z9, SIP/2.0/UDP b;ttl=1"
    assert [via_parameter(via, name) for name in ("received", "rport", "branch", "ttl")] == [
        "192.0.2.1",
        "99",
        "z9",
        "",
    ]


def test_only_the_last_answers_are_kept() -> None:
    answered, first = Answered(), parse(BYE)
    assert isinstance(first, Request)
    response = response_to(first, tag="x", sender=("192.0.2.8", 6060), ours=True)
    assert response is not None
    answered.keep(first, response)
    assert answered.before(first) is response
    for number in range(64):
        other = parse(BYE.replace(b"bK77", b"bK%d" % (1000 + number)))
        assert isinstance(other, Request)
        assert answered.before(other) is None
        answered.keep(other, response)
    assert answered.before(first) is None
