"""Hostile HTTP requests, made byte by byte: no client library would send them.

Each is a name, what is sent (in pieces, so that a hundred megabytes need no memory here) and what its sender may be
told. ``CLOSED`` is no answer but the end of the connection.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamserver.core.examples import NEW_TASK_BODY

CLOSED = "closed"
MB = 1_000_000


@dataclass(frozen=True)
class Attack:
    """One connection's worth of bytes.

    Attributes:
        name: for the test's report.
        pieces: makes what is sent.
        answers: HTTP statuses that are right, as text, with the ``Code`` of the body where there is one.
    """

    name: str
    pieces: Callable[[], Iterator[bytes]]
    answers: frozenset[str]


def attack(name: str, answers: str, *pieces: bytes | Callable[[], Iterator[bytes]]) -> Attack:
    """An attack of bytes and of functions that make more of them; ``answers`` are separated by commas."""

    def stream() -> Iterator[bytes]:
        for piece in pieces:
            if callable(piece):
                yield from piece()
            else:
                yield piece

    return Attack(name, stream, frozenset(answers.split(", ")))


def head(path: str = "/task/query", *fields: str, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    """The head of a request, its empty line included."""
    lines = [f"{method} {path} {version}", "Host: 127.0.0.1", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def with_body(content: bytes, *fields: str, path: str = "/task/query") -> bytes:
    """A whole request."""
    return head(path, f"Content-Length: {len(content)}", *fields) + content


def repeated(piece: bytes, size: int) -> Callable[[], Iterator[bytes]]:
    """``size`` bytes of one piece again and again."""

    def make() -> Iterator[bytes]:
        block = piece * max(1, 65_536 // len(piece))
        for _ in range(size // len(block)):
            yield block
        yield block[: size % len(block)]

    return make


def chunks(piece: bytes, count: int) -> Callable[[], Iterator[bytes]]:
    """``count`` chunks, and no last one."""
    return lambda: (b"%x\r\n%s\r\n" % (len(piece), piece) for _ in range(count))


def exchange(connection: socket.socket, pieces: Iterator[bytes]) -> str:
    """Sends as long as somebody takes it; gives the status and ``Code`` of the answer, or ``CLOSED``."""
    try:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # refused in the middle; the answer may still be there
    received = b""
    try:
        while not _is_whole(received):
            more = connection.recv(65_536)
            if not more:
                break
            received = (received + more).removeprefix(_CONTINUE)
    except OSError:
        pass  # a reset
    return _told(received)


_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _is_whole(received: bytes) -> bool:
    fields, _, body = received.partition(b"\r\n\r\n")
    length = [line for line in fields.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(length) and len(body) >= int(length[0].partition(b":")[2])


def _told(received: bytes) -> str:
    if not received:
        return CLOSED
    status = received.split(b" ", 2)[1].decode("latin-1") if received.startswith(b"HTTP/") else "HTTP/0.9"
    try:
        content = json.loads(received.partition(b"\r\n\r\n")[2])
        return f"{status} {content['Code']}"
    except (ValueError, KeyError, TypeError):
        return status


_QUERY = b'{"TaskID":"none"}'
_UNKNOWN = "200 1"
_REFUSED = "200 4000"
_TOO_LARGE = "200 4001"

_GZIP_BOMB = gzip.compress(b" " * 20 * MB)
_DEEP = b'{"TaskID":' + b"[" * 400_000 + b"]" * 400_000 + b"}"


def _json_with(value: bytes) -> bytes:
    return b'{"TaskID":"t1","InputSrc":' + value + b"}"


BODIES = [
    attack("deep JSON", _REFUSED, with_body(_DEEP)),
    attack("deep objects", _REFUSED, with_body(b'{"a":' * 150_000 + b"1" + b"}" * 150_000)),
    attack("a number of 900,000 digits", _REFUSED, with_body(_json_with(b"9" * 900_000))),
    attack(
        "a fraction of 900,000 digits", _REFUSED, with_body(_json_with(b"0." + b"9" * 900_000), path="/task/create")
    ),
    attack("an exponent of 900,000 digits", _REFUSED, with_body(_json_with(b"1e" + b"9" * 900_000))),
    attack("1e400", _REFUSED, with_body(_json_with(b"1e400"))),
    attack("NaN", _REFUSED, with_body(_json_with(b"NaN"))),
    attack("Infinity", _REFUSED, with_body(_json_with(b"-Infinity"))),
    attack("duplicate keys", _REFUSED, with_body(b'{"TaskID":"a","TaskID":"b"}')),
    attack("duplicate keys, one escaped", _REFUSED, with_body(b'{"TaskID":"a","Task\\u0049D":"b"}')),
    attack("invalid UTF-8", _REFUSED, with_body(b'{"TaskID":"\xc3\x28"}')),
    attack("overlong UTF-8", _REFUSED, with_body(b'{"TaskID":"\xc0\xaf"}')),
    attack("a surrogate in UTF-8", _REFUSED, with_body(b'{"TaskID":"\xed\xa0\x80"}')),
    attack("UTF-16", _REFUSED, with_body('{"TaskID":"a"}'.encode("utf-16"))),
    attack("UTF-32", _REFUSED, with_body('{"TaskID":"a"}'.encode("utf-32"))),
    attack("UTF-7", _REFUSED, with_body(b'+AHs-"TaskID":"x"+AH0-', "Content-Type: application/json; charset=utf-7")),
    attack("a byte order mark", _UNKNOWN, with_body(b"\xef\xbb\xbf" + _QUERY)),
    attack("two byte order marks", _REFUSED, with_body(b"\xef\xbb\xbf\xef\xbb\xbf" + _QUERY)),
    attack("a null byte in a text", _REFUSED, with_body(b'{"TaskID":"a\\u0000b"}')),
    attack("a null byte as such", _REFUSED, with_body(b'{"TaskID":"a\0b"}')),
    attack("null bytes behind", _REFUSED, with_body(_QUERY + b"\0" * 1000)),
    attack("a lone surrogate", _REFUSED, with_body(b'{"TaskID":"\\ud800"}')),
    attack("surrogates the wrong way round", _REFUSED, with_body(b'{"TaskID":"\\udc00\\ud800"}')),
    attack("two values", _REFUSED, with_body(_QUERY + _QUERY)),
    attack("JSON with a comment", _REFUSED, with_body(b'{"TaskID":"a"/* */}')),
    attack("300,000 empty lists", _REFUSED, with_body(b'{"a":[' + b"[]," * 300_000 + b"[]]}")),
    attack("100,000 keys", _REFUSED, with_body(b"{" + b",".join(b'"%x":0' % i for i in range(100_000)) + b"}")),
    attack(
        "__proto__", _UNKNOWN, with_body(b'{"TaskID":"none","__proto__":{"admin":1},"constructor":{"prototype":1}}')
    ),
    attack("__class__", _UNKNOWN, with_body(b'{"TaskID":"none","__class__":"x","__dict__":{},"model_config":{}}')),
    attack("names of the model's own", _UNKNOWN, with_body(b'{"TaskID":"none","task_id":"x","model_fields_set":[]}')),
    attack("$ref", _UNKNOWN, with_body(b'{"TaskID":"none","$ref":"file:///etc/passwd","$schema":"http://192.0.2.1/"}')),
    attack("YAML", _REFUSED, with_body(b"!!python/object/apply:os.system ['true']")),
    attack("pickle", _REFUSED, with_body(b"\x80\x04cposix\nsystem\n(S'true'\ntR.")),
    attack("XML", _REFUSED, with_body(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>')),
    attack("billion laughs", _REFUSED, with_body(b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>')),
    attack("a form", _REFUSED, with_body(b"TaskID=none", "Content-Type: application/x-www-form-urlencoded")),
    attack("JSON called a form", _UNKNOWN, with_body(_QUERY, "Content-Type: application/x-www-form-urlencoded")),
    attack(
        "multipart",
        _REFUSED,
        with_body(
            b'--b\r\nContent-Disposition: form-data; name="TaskID"\r\n\r\nnone\r\n--b--\r\n',
            "Content-Type: multipart/form-data; boundary=b",
        ),
    ),
    attack(
        "multipart of 100,000 parts",
        _REFUSED,
        with_body(b"--b\r\n\r\n" * 100_000, "Content-Type: multipart/form-data; boundary=b"),
    ),
    attack("a gzip bomb", "200 4000", with_body(_GZIP_BOMB, "Content-Encoding: gzip")),
    attack(
        "a gzip bomb as transfer encoding",
        "400, 501, 200 4000, closed",
        head("/task/query", "Transfer-Encoding: gzip, chunked"),
        chunks(_GZIP_BOMB, 1),
        b"0\r\n\r\n",
    ),
    attack("1.1 MB", _TOO_LARGE, head("/task/query", "Content-Length: 1100000"), repeated(b" ", 1_100_000)),
    attack(
        "100 MB with a length",
        f"{_TOO_LARGE}, closed",
        head("/task/create", f"Content-Length: {100 * MB}"),
        repeated(b" ", 100 * MB),
    ),
    attack(
        "100 MB in chunks",
        f"{_TOO_LARGE}, closed",
        head("/task/create", "Transfer-Encoding: chunked"),
        chunks(b" " * 65_536, 1600),
    ),
    attack(
        "a body in chunks of a byte",
        f"{_TOO_LARGE}, {_REFUSED}, closed",
        head("/task/create", "Transfer-Encoding: chunked"),
        repeated(b"1\r\nx\r\n", 3 * MB),
    ),
    attack(
        "a chunk that calls itself huge",
        f"{_REFUSED}, {_TOO_LARGE}, closed",
        head("/task/query", "Transfer-Encoding: chunked"),
        b"ffffffffffffffff\r\n",
        repeated(b"x", 2 * MB),
    ),
    attack(
        "a chunk extension of 1 MB",
        f"{_REFUSED}, 400, closed",
        head("/task/query", "Transfer-Encoding: chunked"),
        b"1;",
        repeated(b"a", MB),
        b"\r\nx\r\n0\r\n\r\n",
    ),
    attack(
        "1 MB of trailers",
        f"{_REFUSED}, {_UNKNOWN}, 400, closed",
        head("/task/query", "Transfer-Encoding: chunked"),
        b"11\r\n" + _QUERY + b"\r\n0\r\n",
        repeated(b"a: b\r\n", MB),
        b"\r\n",
    ),
    attack(
        "a chunk of negative size",
        f"{_REFUSED}, 400, closed",
        head("/task/query", "Transfer-Encoding: chunked"),
        b"-1\r\n\r\n",
    ),
    attack("a body of a GET", "200 0", head("/task/list", f"Content-Length: {len(_QUERY)}", method="GET"), _QUERY),
    attack(
        "a create of the example, its address 4096 characters",
        _REFUSED,
        with_body(json.dumps(NEW_TASK_BODY).replace("rtsp://", "rtsp://" + "a" * 5000).encode(), path="/task/create"),
    ),
]
"""What stands behind a good head."""

HEADS = [
    attack("a length that is too short", "200 4000", head("/task/query", "Content-Length: 5"), _QUERY),
    attack("a negative length", "400, closed", head("/task/query", "Content-Length: -1"), _QUERY),
    attack("a length with a sign", "400, closed", head("/task/query", "Content-Length: +17"), _QUERY),
    attack("a length that is no number", "400, closed", head("/task/query", "Content-Length: 1e3"), _QUERY),
    attack(
        "a length of 5,000 digits", "400, 431, closed", head("/task/query", "Content-Length: " + "9" * 5000), _QUERY
    ),
    attack("a length in other digits", "400, closed", head("/task/query", "Content-Length: \xb2\xb9"), _QUERY),
    attack("two lengths", "400, closed", head("/task/query", "Content-Length: 17", "Content-Length: 5"), _QUERY),
    attack("two lengths in one", "400, closed", head("/task/query", "Content-Length: 17, 5"), _QUERY),
    attack(
        "a length and chunks",
        "400, closed",
        head("/task/query", "Content-Length: 17", "Transfer-Encoding: chunked"),
        b"11\r\n" + _QUERY + b"\r\n0\r\n\r\n",
    ),
    attack(
        "chunked twice",
        "400, 501, closed",
        head("/task/query", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        b"0\r\n\r\n",
    ),
    attack(
        "an unknown transfer encoding",
        "400, 501, closed",
        head("/task/query", "Transfer-Encoding: xchunked"),
        b"0\r\n\r\n",
    ),
    attack(
        "a transfer encoding with a tab",
        "400, 501, closed, 200 1",
        head("/task/query", "Transfer-Encoding:\tchunked"),
        b"11\r\n" + _QUERY + b"\r\n0\r\n\r\n",
    ),
    attack("a blank before the colon", "400, closed", head("/task/query", "Content-Length : 17"), _QUERY),
    attack("a folded field", "400, closed", head("/task/query", "X: a\r\n b", "Content-Length: 17"), _QUERY),
    attack(
        "bare line feeds",
        "400, 400 4000, 200 1, closed",
        head("/task/query", "Content-Length: 17").replace(b"\r\n", b"\n"),
        _QUERY,
    ),
    attack("HTTP/0.9", "400, closed, HTTP/0.9", b"GET /task/list\r\n\r\n"),
    attack("HTTP/9.9", "400, 505, closed", head(version="HTTP/9.9")),
    attack("HTTP/2", "400, 505, closed", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    attack("TLS", "400, closed", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500 + b"\r\n\r\n"),
    attack("no HTTP at all", "400, closed", b"\0" * 5000 + b"\r\n\r\n"),
    attack("a method of 5,000 letters", "400, 414, closed", head(method="A" * 5000)),
    attack("an unknown method", "200 4000", head(method="BREW")),
    attack("TRACE", "405 4000", head("/docs", method="TRACE")),
    attack("CONNECT", "400, 404 4000, 405 4000, closed", head("192.0.2.1:80", method="CONNECT")),
    attack(
        "1 MB of one field", "400, 431 4000, closed", b"GET /livez HTTP/1.1\r\nX: ", repeated(b"a", MB), b"\r\n\r\n"
    ),
    attack(
        "1 MB of fields",
        "400, 431 4000, closed",
        b"GET /livez HTTP/1.1\r\n",
        repeated(b"X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n", MB),
        b"\r\n",
    ),
    attack(
        "10,000 fields",
        "400, 431 4000, closed",
        b"GET /livez HTTP/1.1\r\n",
        lambda: (b"X%d: 1\r\n" % i for i in range(10_000)),
        b"\r\n",
    ),
    attack("a field without an end", "400, 431 4000, closed", b"GET /livez HTTP/1.1\r\nX: ", repeated(b"a", 2 * MB)),
    attack("a request line without an end", "400, 431 4000, closed", b"GET /", repeated(b"a", 2 * MB)),
    attack("a null byte in a field", "400, closed", head("/livez", "X: a\0b", method="GET")),
    attack("a field without a name", "400, closed", head("/livez", ": b", method="GET")),
    attack("a field's name with an underscore", "200", head("/livez", "X_Y: b", "Content_Length: 5", method="GET")),
    attack("two hosts", "400, 200", head("/livez", "Host: example.org", method="GET")),
    attack(
        "a host of 8,000 letters", "400 4000, 403 4030", b"GET /livez HTTP/1.1\r\nHost: " + b"a" * 8000 + b"\r\n\r\n"
    ),
    attack("a host with a path", "400, 200, 403, 403 4030", b"GET /livez HTTP/1.1\r\nHost: a/../b?c#d@e\r\n\r\n"),
    attack("no host", "400, 200, 403, 403 4030", b"GET /livez HTTP/1.1\r\n\r\n"),
    attack("Expect", "200 1", with_body(_QUERY, "Expect: 100-continue")),
    attack("an unknown expectation", "400, 417, 200 1, closed", with_body(_QUERY, "Expect: 200-maybe")),
    attack("an upgrade", "200, 400 4000", head("/livez", "Upgrade: websocket", "Connection: Upgrade", method="GET")),
    attack("a range", "200", head("/docs", "Range: bytes=" + ",".join("0-" for _ in range(1000)), method="GET")),
    attack("a forged forwarder", "401 4010", head("/task/list", "X-Forwarded-For: 127.0.0.1", method="GET")),
    attack("a forged prefix", "200 0", head("/task/list", "Script_Name: /x", "Script-Name: /x", method="GET")),
    attack("a forged path", "200 0", head("/task/list", "Path_Info: /docs", "Path-Info: /docs", method="GET")),
    attack("cookies", "200", head("/livez", "Cookie: " + "a=b; " * 1500, method="GET")),
]
"""What is wrong with the head, or stands in it."""

TARGETS = [
    attack("an absolute form", "200 0", head("http://127.0.0.1/task/list", method="GET")),
    attack(
        "another host in absolute form",
        "200 0, 400, 403 4030, 404 4000",
        head("http://example.org/task/list", method="GET"),
    ),
    attack("an asterisk", "400, 404, 404 4000, 405 4000, 308, closed", head("*", method="OPTIONS")),
    attack("an empty target", "400, closed", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n"),
    attack("a fragment", "400, 200, 404 4000", head("/livez#x", method="GET")),
    attack("%00", "404 4000", head("/docs%00.html", method="GET")),
    attack("../", "404 4000", head("/docs/../../../../etc/passwd", method="GET")),
    attack("%2e%2e%2f", "404 4000", head("/%2e%2e%2f%2e%2e%2fetc%2fpasswd", method="GET")),
    attack("a double encoding", "404 4000", head("/%252e%252e/etc/passwd", method="GET")),
    attack("backslashes", "404 4000", head("/..\\..\\etc\\passwd", method="GET")),
    attack("two slashes", "308, 404 4000", head("//example.org/docs", method="GET")),
    attack("invalid escapes", "404 4000", head("/%zz%", method="GET")),
    attack("invalid UTF-8 in the path", "404 4000", head("/%ff%fe", method="GET")),
    attack("line ends in the path", "404 4000", head("/a%0d%0aSet-Cookie:%20x=1", method="GET")),
    attack("bytes over 127 in the path", "404 4000, 400", head("/\xe9\xff", method="GET")),
    attack("a script in the path", "404 4000", head("/<script>alert(1)</script>", method="GET")),
    attack(
        "a query of 100,000 characters",
        "400, 431 4000, closed",
        b"GET /task/list?",
        repeated(b"a=b&", 100_000),
        b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
    attack("1,500 keys in the query", "200 0", head("/task/list?" + "a&" * 1500, method="GET")),
    attack("a TaskID twice", "200 1", head("/task/query?TaskID=a&TaskID=b", method="GET")),
    attack("a null byte in the query", "200 4000", head("/task/query?TaskID=a%00b", method="GET")),
    attack("invalid UTF-8 in the query", "200 1, 200 4000", head("/task/query?TaskID=%ff%fe", method="GET")),
    attack("line ends in the query", "200 4000", head("/task/query?TaskID=a%0d%0aX:%20y", method="GET")),
    attack("another digit as a number", "200 4000", head("/task/list?Limit=%D9%A1", method="GET")),
    attack("a number of 4,000 digits", "200 4000", head("/task/list?Limit=" + "9" * 4000, method="GET")),
    attack("a task that is no path", "404 -1", head("/task/preview?TaskID=..%2f..%2fetc&Fps=nan", method="GET")),
]
"""Strange things to ask for."""
