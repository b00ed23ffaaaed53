"""When a request is there."""

from __future__ import annotations

import itertools

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.web.arrival import HEAD_BYTES, WHOLE_BYTES, Stage, stage

_POST = b"POST /x HTTP/1.1\r\nHost: x\r\n"
_LARGE = str(WHOLE_BYTES).encode()

_STAGES = [
    ("nothing", b"", Stage.COMING),
    ("half a line", b"GET /x HT", Stage.COMING),
    ("half a head", _POST, Stage.COMING),
    ("no body", _POST + b"\r\n", Stage.WHOLE),
    ("next request behind", _POST + b"\r\nGET /", Stage.WHOLE),
    ("body outstanding", _POST + b"Content-Length: 3\r\n\r\n{}", Stage.BODY),
    ("body there", _POST + b"content-length:3 \r\n\r\n{ }", Stage.WHOLE),
    ("large body", _POST + b"Content-Length: " + _LARGE + b"\r\n\r\n", Stage.LONG),
    ("chunks", _POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Stage.LONG),
    ("asks whether to send", _POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", Stage.LONG),
    ("two lengths", _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", Stage.LONG),
    ("a length that is none", _POST + b"Content-Length: +3\r\n\r\n", Stage.LONG),
    ("endless length", _POST + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", Stage.LONG),
    ("length in the address", b"GET /content-length:9 HTTP/1.1\r\n\r\n", Stage.WHOLE),
    ("head too large", _POST + b"A: " + b"a" * HEAD_BYTES, Stage.TOO_LARGE),
    ("whole head too large", _POST + b"A: " + b"a" * HEAD_BYTES + b"\r\n\r\n", Stage.TOO_LARGE),
    ("bare line feeds", b"GET /x HTTP/1.0\n\n", Stage.BROKEN),
]


@pytest.mark.parametrize(("said", "expected"), [row[1:] for row in _STAGES], ids=[row[0] for row in _STAGES])
def test_a_request_is_there_when_its_head_and_small_body_are(said: bytes, expected: Stage) -> None:
    assert stage(said) is expected


_CONFIG = Config()


class _Read:
    """A connection that gives what has arrived and fails where the parser would wait for more."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def recv(self, size: int) -> bytes:
        assert self._said, "the parser waits for more"
        piece, self._said = self._said[:size], self._said[size:]
        return piece


_FIELDS = [
    b"Content-Length: 3\r\n",
    b"CONTENT-LENGTH:\t3\t\r\n",
    b"Content-Length : 3\r\n",
    b" Content-Length: 3\r\n",
    b"Content_Length: 3\r\n",
    b"Content-Length: 3\n",
    b"X: a\nContent-Length: 3\r\n",
    b"X: a\rContent-Length: 3\r\n",
    b"Content-Length:\r\n",
    b"Content-Length: 0x3\r\n",
    b"Content-Length: 3,3\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"X: a\r\n",
    b"\r\n",
    b"",
]
_STARTS = [b"", b"\r\n", b"\r\n\r\n", b"\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


def test_what_is_taken_for_whole_makes_gunicorn_wait_for_nothing() -> None:
    """Were it otherwise, whoever knows how could hold every thread."""
    taken = 0
    for start, one, other, end in itertools.product(_STARTS, _FIELDS, _FIELDS, [b"\r\n", b"\r\nabc"]):
        said = start + b"POST /x HTTP/1.1\r\n" + one + other + end
        if stage(said) is not Stage.WHOLE:
            continue
        taken += 1
        try:
            next(RequestParser(_CONFIG, _Read(said), ("127.0.0.1", 1))).body.read()
        except (ParseException, StopIteration):
            pass
    assert taken > 100


class _WaitsError(Exception):
    """The parser would wait for more."""


class _Endless(_Read):
    def recv(self, size: int) -> bytes:
        if not self._said:
            raise _WaitsError
        return super().recv(size)


_PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\r\n\r\n", b"\x00", b"\x0b", b"\x85", b"\xa0", b"\xb2"),
    *(
        b"3",
        b"0",
        b"+3",
        b"1,1",
        b"abc",
        b"X: a",
        b"Host: x",
        b"GET / HTTP/1.1",
        b"POST /a HTTP/1.0",
        b"PRI * HTTP/2.0",
    ),
    *(b"Content-Length: ", b"content-length:3", b"Content-Length", b"Content_Length: 3", b"Expect: 100-continue"),
    *(b"Transfer-Encoding: chunked", b"transfer-encoding: gzip, chunked", b"identity", b"0\r\n\r\n", b"3\r\nabc\r\n"),
]
_LINE = st.lists(st.sampled_from(_PIECES), max_size=5).map(b"".join)
_HEADS = st.lists(_LINE, max_size=6).map(lambda lines: b"GET / HTTP/1.1\r\n" + b"\r\n".join([*lines, b"", b""]))


@settings(max_examples=500, deadline=None)
@given(_HEADS, st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join))
def test_a_request_ends_here_where_it_ends_for_gunicorn(head: bytes, rest: bytes) -> None:
    """Were it otherwise, what follows it could be taken for another request, or hold a thread."""
    said = head + rest
    where = stage(said)
    connection = _Endless(said)
    parser = RequestParser(_CONFIG, connection, ("127.0.0.1", 1))
    try:
        next(parser).body.read()
    except _WaitsError:
        assert where is not Stage.WHOLE
    except (ParseException, StopIteration):
        pass
    else:
        used = len(said) - len(parser.unreader.take_buffered() + connection._said)
        assert where in (Stage.WHOLE, Stage.LONG)
        if where is Stage.WHOLE:
            assert stage(said[:used]) is Stage.WHOLE and stage(said[: used - 1]) in (Stage.COMING, Stage.BODY)
