"""SIP messages (RFC 3261): read from bytes that anybody may have sent, and written."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
MAX_HEADERS = 200

_COMPACT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
    "s": "subject",
    "k": "supported",
    "e": "content-encoding",
    "o": "event",
}
_NAME = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_REQUEST_LINE = re.compile(r"(?P<method>[A-Z]{1,32}) (?P<uri>[!-~]+) SIP/2\.0", re.ASCII)
_STATUS_LINE = re.compile(r"SIP/2\.0 (?P<status>[1-6][0-9]{2})(?: (?P<phrase>.*))?", re.ASCII)
_CSEQ = re.compile(r"(?P<number>[0-9]{1,10})\s+(?P<method>[A-Z]{1,32})", re.ASCII)
_TAG = re.compile(r";\s*tag\s*=\s*(?P<tag>[^;,\s<>\"]+)", re.IGNORECASE)
_ANGLED = re.compile(r"<\s*(?P<uri>[^<>\s]+)\s*>")
_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")

Headers = tuple[tuple[str, str], ...]
"""Name and value, in order."""


class MalformedMessage(ValueError):
    """These bytes are no SIP message, or one that is larger than anybody needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What requests and responses have in common.

    Header values are Latin-1: every byte stands for itself, so what is echoed comes back as it came.
    """

    headers: Headers
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """All values of the headers of this (long) name, in order; not split at commas."""
        wanted = name.lower()
        return [value for header, value in self.headers if _long(header) == wanted]

    def value(self, name: str) -> str:
        """The first value of the header; empty without one."""
        return next(iter(self.values(name)), "")

    @property
    def call_id(self) -> str:
        """Names the call, or the registration."""
        return self.value("Call-ID")

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method; ``(0, "")`` if the header is missing or damaged."""
        found = _CSEQ.fullmatch(self.value("CSeq"))
        return (int(found["number"]), found["method"]) if found else (0, "")

    @property
    def branch(self) -> str:
        """Names the transaction; empty if the topmost Via has none."""
        return via_parameter(self.value("Via"), "branch")

    @property
    def first_line(self) -> str:
        """The line before the headers."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message as it is sent, with its Content-Length."""
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.headers)]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    """``method uri SIP/2.0``."""

    method: str
    uri: str

    @property
    def first_line(self) -> str:
        """The request line."""
        return f"{self.method} {self.uri} SIP/2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Message):
    """``SIP/2.0 status phrase``."""

    status: int
    phrase: str = ""

    @property
    def first_line(self) -> str:
        """The status line."""
        return f"SIP/2.0 {self.status} {self.phrase}"

    @property
    def in_words(self) -> str:
        """Status and phrase, as far as they can be shown to people."""
        shown = "".join(c for c in self.phrase if " " <= c <= "~")[:60].strip()
        return f"{self.status} {shown}".strip()


def parse(data: bytes) -> Request | Response:
    """Reads one whole message. A body that is longer than it says is cut, a shorter one is taken as it is.

    Raises:
        MalformedMessage: it is none.
    """
    head, body = _split(data.lstrip(b"\r\n"))
    first, headers = _lines(head)
    length = _content_length(headers)
    body = body if length is None else body[:length]
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"a body of {len(body)} bytes")
    if found := _REQUEST_LINE.fullmatch(first):
        return Request(method=found["method"], uri=found["uri"], headers=headers, body=body)
    if found := _STATUS_LINE.fullmatch(first):
        return Response(status=int(found["status"]), phrase=found["phrase"] or "", headers=headers, body=body)
    raise MalformedMessage("neither a request nor a response")


def cut(buffer: bytearray) -> bytes | None:
    """Takes the first whole message out of what has come over TCP; ``None`` until it is whole.

    Empty lines before it, which keep a connection alive, are taken out too.

    Raises:
        MalformedMessage: there will be none: too large, or no Content-Length, so that its end cannot be known.
    """
    del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
    blank = _BLANK_LINE.search(buffer, 0, MAX_HEAD_BYTES)
    if blank is None:
        if len(buffer) >= MAX_HEAD_BYTES:
            raise MalformedMessage(f"no end of the headers within {MAX_HEAD_BYTES} bytes")
        return None
    _, headers = _lines(bytes(buffer[: blank.start()]))
    length = _content_length(headers)
    if length is None:
        raise MalformedMessage("no Content-Length over TCP")
    if length > MAX_BODY_BYTES:
        raise MalformedMessage(f"a body of {length} bytes")
    end = blank.end() + length
    if len(buffer) < end:
        return None
    message = bytes(buffer[:end])
    del buffer[:end]
    return message


def _split(data: bytes) -> tuple[bytes, bytes]:
    blank = _BLANK_LINE.search(data)
    head, body = (data[: blank.start()], data[blank.end() :]) if blank else (data, b"")
    if len(head) > MAX_HEAD_BYTES:
        raise MalformedMessage(f"headers of {len(head)} bytes")
    return head, body


def _lines(head: bytes) -> tuple[str, Headers]:
    """The first line and the headers; folded lines are joined."""
    lines = [line.rstrip("\r") for line in head.decode("latin-1").split("\n")]
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        clean = line.replace("\r", " ").replace("\0", " ")
        if clean[:1] in (" ", "\t") and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {clean.strip()}".strip())
            continue
        name, colon, value = clean.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()):
            raise MalformedMessage("a line that is no header")
        headers.append((name.strip(), value.strip()))
        if len(headers) > MAX_HEADERS:
            raise MalformedMessage(f"more than {MAX_HEADERS} headers")
    return lines[0], tuple(headers)


def _content_length(headers: Headers) -> int | None:
    value = next((value for name, value in headers if _long(name) == "content-length"), None)
    if value is not None and not _LENGTH.fullmatch(value):
        raise MalformedMessage("a Content-Length that is no number")
    return None if value is None else int(value)


def _long(name: str) -> str:
    lower = name.lower()
    return _COMPACT.get(lower, lower)


def tag_of(value: str) -> str:
    """The tag of a From or To header; empty without one."""
    found = _TAG.search(value, value.rfind(">") + 1)
    return found["tag"] if found else ""


def uri_of(value: str) -> str:
    """The address in a From, To, Contact or Route header; empty if there is none."""
    if found := _ANGLED.search(value):
        return found["uri"]
    bare = value.split(",")[0].split(";")[0].strip()
    return bare if re.fullmatch(r"sips?:[!-~]+", bare, re.IGNORECASE) else ""


def via_parameter(via: str, name: str) -> str:
    """A parameter of the first Via of a header; empty without one, or without a value."""
    found = re.search(rf";\s*{name}\s*=\s*(?P<value>[^;,\s]+)", via.split(",")[0], re.IGNORECASE)
    return found["value"] if found else ""
