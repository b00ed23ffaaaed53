"""What a server itself says of an address, where a library only says that it could not open it.

One request of ours, ``DESCRIBE`` over RTSP and ``GET`` over HTTP, whose answer is not read beyond its head. TLS
certificates are not looked at, as the readers do not look at them either.
"""

from __future__ import annotations

import base64
import http
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urljoin

from streamserver.core.errors import SourceError
from streamserver.core.urls import decoded, take_apart
from streamserver.media.diagnosis import (
    FORBIDDEN,
    NO_ANSWER,
    NOT_FOUND,
    UNAUTHORIZED,
    endpoint_of,
    tls_words,
    unchecked_tls,
    words_for,
)
from streamserver.media.egress import Egress
from streamserver.media.gb28181 import digest

_TLS = frozenset({"rtsps", "https"})
_SCHEMES = frozenset({"rtsp", "http"}) | _TLS
_EXCHANGES = 4
"""Answers that are looked at: a challenge, and a few that send us elsewhere."""

_HEAD_BYTES = 65_536
_STATUS_LINE = re.compile(r"(?:RTSP|HTTP)/\d\.\d (?P<status>\d{3})\b")
_NOT_IN_A_LINE = re.compile(r"[^\x21-\x7e]")
_WORDS = {
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    454: NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class _Reply:
    """The head of an answer: status and header lines, each name in small letters with all its values."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str) -> str:
        """A header's first value; empty when it is not there."""
        return self.headers.get(name, [""])[0]


def refusal(address: str, limit_s: float, egress: Egress | None = None) -> str:
    """Why the server does not give ``address``, in words without secrets.

    Args:
        address: RTSP or HTTP, with or without TLS; its user and password are used as the readers use them.
        limit_s: seconds for all of it.
        egress: what may be asked, wherever the server sends us; ``None`` for everything.

    Returns:
        the reason; empty if the server gives it, or the address is of another kind.
    """
    parts = take_apart(address)
    if parts is None or parts.scheme not in _SCHEMES:
        return ""
    try:
        return _ask(address, time.monotonic() + limit_s, egress or Egress(None))
    except SourceError as e:
        return str(e)
    except TimeoutError:
        return NO_ANSWER
    except ssl.SSLError as e:
        return tls_words(e)
    except OSError as e:
        return words_for(e.errno) or "the other side broke the connection off"


def _ask(address: str, deadline: float, egress: Egress) -> str:
    login = take_apart(address)
    user, password = ("", "") if login is None else (decoded(login.user or ""), decoded(login.password or ""))
    authorization = ""
    for _ in range(_EXCHANGES):
        reply = _exchange(address, authorization, deadline, egress)
        if reply is None:
            return f"what answers there does not speak {'RTSP' if address.lower().startswith('rtsp') else 'HTTP'}"
        location = reply.first("location")
        if reply.status == 401 and (user or password) and not authorization:
            authorization = _authorization(reply, address, user, password)
            if authorization:
                continue
        elif 300 <= reply.status < 400 and urljoin(address, location).partition("://")[0].lower() in _SCHEMES:
            address, authorization = urljoin(_without_login(address), location), ""
            continue
        return _in_words(reply.status)
    return "the server sends us from one address to the next"


def _in_words(status: int) -> str:
    """Why there is no stream; empty for an answer that is none of a refusal."""
    if status < 300:
        return ""
    known = {status.value: status.phrase for status in http.HTTPStatus}
    return _WORDS.get(status) or f"the server refuses ({status} {known.get(status, '')}".strip() + ")"


def _exchange(address: str, authorization: str, deadline: float, egress: Egress) -> _Reply | None:
    """One request over a connection of its own; ``None`` for an answer in another language."""
    endpoint = endpoint_of(address)
    with egress.connect(endpoint.host, endpoint.port, _left_s(deadline)) as connection:
        if endpoint.scheme not in _TLS:
            return _speak(connection, _request(address, authorization), deadline)
        with unchecked_tls(connection, endpoint.host) as secure:
            return _speak(secure, _request(address, authorization), deadline)


def _speak(connection: socket.socket, request: bytes, deadline: float) -> _Reply | None:
    connection.settimeout(_left_s(deadline))
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
        connection.settimeout(_left_s(deadline))
        data = connection.recv(4096)
        if not data:
            break
        head += data
    return _parse(head)


def _parse(head: bytes) -> _Reply | None:
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    found = _STATUS_LINE.match(first)
    if found is None:
        return None
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), []).append(value.strip())
    return _Reply(int(found["status"]), headers)


def _request(address: str, authorization: str) -> bytes:
    head = [f"{_method(address)} {_target(address)} {'RTSP/1.0' if _is_rtsp(address) else 'HTTP/1.1'}"]
    if _is_rtsp(address):
        head += ["CSeq: 1", "Accept: application/sdp"]
    else:
        parts = take_apart(address)
        assert parts is not None
        head += [f"Host: {re.split('[/?#]', parts.location)[0]}", "Accept: */*", "Connection: close"]
    if authorization:
        head.append(f"Authorization: {authorization}")
    return "\r\n".join([*head, "User-Agent: stream-server", "", ""]).encode("utf-8")


def _authorization(reply: _Reply, address: str, user: str, password: str) -> str:
    """The answer to a server's challenge, the stronger way first; empty where it wants what we have not got."""
    challenges = reply.headers.get("www-authenticate", [])
    for header in challenges:
        challenge = digest.parse_challenge(header)
        if challenge is not None:
            return digest.answer(
                challenge, username=user, password=password, method=_method(address), uri=_target(address)
            )
    if any(header.lower().startswith("basic") for header in challenges):
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"
    return ""


def _is_rtsp(address: str) -> bool:
    return address.lower().startswith("rtsp")


def _method(address: str) -> str:
    return "DESCRIBE" if _is_rtsp(address) else "GET"


def _target(address: str) -> str:
    """What the request line names: over RTSP the address without its login, over HTTP the path."""
    bare = _NOT_IN_A_LINE.sub(_percent, _without_login(address).partition("#")[0])
    if _is_rtsp(address):
        return bare
    rest = re.sub(r"\A[^/?]*", "", bare.partition("://")[2])
    return rest if rest.startswith("/") else f"/{rest}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _without_login(address: str) -> str:
    parts = take_apart(address)
    assert parts is not None
    return f"{parts.scheme}://{parts.location}"


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
