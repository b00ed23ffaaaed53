"""Why an address cannot be reached: the resolver and the host are asked, where a library only says "I/O error"."""

from __future__ import annotations

import errno
import ipaddress
import os
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass

from streamserver.core.urls import take_apart
from streamserver.media.egress import Egress

LOOK_UP_S = 3.0
"""How long a resolver is waited for before each connection."""

REFUSED = "the connection was refused"
NO_ANSWER = "no answer in time"
UNAUTHORIZED = "the user name or the password was refused (401)"
FORBIDDEN = "access was refused (403)"
NOT_FOUND = "there is no such stream (404)"

DRAWN_TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})
"""FFmpeg paints texts as videos: that would show any text file of this machine to whoever asks for a picture."""

NO_VIDEO = "this is not a video that can be read"

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
"""Default ports of what begins with a TCP connection."""

_TLS = frozenset({"rtsps", "rtmps", "https"})

_WORDS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: "the other side broke the connection off",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.EHOSTDOWN: "the host cannot be reached",
    errno.ENETUNREACH: "the network of the host cannot be reached",
    errno.ETIMEDOUT: NO_ANSWER,
    errno.EADDRINUSE: "the port is taken by another program",
    errno.EADDRNOTAVAIL: "this machine has not got that address",
}

_NO_CAMERA = "there is no such device; is the camera plugged in?"
CAMERA_WORDS = {
    errno.ENOENT: _NO_CAMERA,
    errno.ENODEV: _NO_CAMERA,
    errno.ENXIO: _NO_CAMERA,
    errno.EBUSY: "another program uses the camera",
    errno.EACCES: "no permission to open the device; the user has to be in the group 'video'",
    errno.ENOTTY: "this device is not a camera",
}
"""What an ``errno`` of opening a camera of this machine means."""

_SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Found = list[tuple[socket.AddressFamily, _SocketAddress]]
"""Family and socket address of each of a host's addresses."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an address leads.

    Attributes:
        scheme: in small letters.
        host: name or number, without brackets; empty for none.
        port: the written one or the scheme's own; 0 where there is neither.
    """

    scheme: str
    host: str
    port: int

    @property
    def is_name(self) -> bool:
        """True if a resolver has to be asked."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return bool(self.host)
        return False


def endpoint_of(address: str) -> Endpoint:
    """Where ``address`` leads; user and password are left out."""
    parts = take_apart(address)
    if parts is None:
        return Endpoint("", "", 0)
    return Endpoint(parts.scheme, parts.host, parts.port or _PORTS.get(parts.scheme, 0))


def words_for(number: int | None) -> str:
    """What an ``errno`` of a connection means; empty for one that has nothing to do with connections."""
    return _WORDS.get(number or 0, "")


def why_not(address: str, limit_s: float, egress: Egress | None = None) -> str:
    """Why nothing can be had from ``address``, found by asking for its name, its port and, where it is secure, TLS.

    Args:
        address: with a scheme; may hold credentials, which are not used and not repeated.
        limit_s: seconds for all of it.
        egress: what may be asked; ``None`` for everything.

    Returns:
        the reason in words; empty if everything answers as it should, or cannot be asked (UDP, through a proxy).
    """
    deadline = time.monotonic() + limit_s
    endpoint = endpoint_of(address)
    egress = egress or Egress(None)
    if not endpoint.host or _through_proxy(endpoint.scheme, egress):
        return ""
    found, reason = _look_up(endpoint, limit_s)
    if reason or endpoint.scheme not in _PORTS:
        return reason
    for family, where in found:
        if not egress.allows(str(where[0])):
            reason = egress.refused
            continue
        reason = _knock(family, where, endpoint, deadline)
        if not reason:
            break
    return reason


def why_no_name(address: str, limit_s: float = LOOK_UP_S, egress: Egress | None = None) -> str:
    """Why the host of ``address`` has no number; empty if it has one. Libraries wait for a resolver without a limit."""
    endpoint = endpoint_of(address)
    if not endpoint.is_name or _through_proxy(endpoint.scheme, egress or Egress(None)):
        return ""
    return _look_up(endpoint, limit_s)[1]


def _through_proxy(scheme: str, egress: Egress) -> bool:
    """Whether FFmpeg leaves the host to a proxy; it sees none in the environment where egress is judged."""
    return not egress.judges and scheme in ("http", "https") and bool(os.environ.get("http_proxy"))


def _look_up(endpoint: Endpoint, limit_s: float) -> tuple[_Found, str]:
    """The host's addresses, or why it has none.

    The resolver is asked in a thread of its own, which is left behind when it takes too long: it ends by itself.
    """
    answers: queue.SimpleQueue[_Found | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer = socket.getaddrinfo(endpoint.host, endpoint.port or None, type=socket.SOCK_STREAM)
            answers.put([(family, where) for family, _, _, _, where in answer])
        except (OSError, UnicodeError) as e:
            answers.put(e if isinstance(e, OSError) else OSError(str(e)))

    threading.Thread(target=ask, name=f"resolve {endpoint.host}", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, limit_s))
    except queue.Empty:
        return [], f"no resolver has answered for the name '{endpoint.host}' in time"
    if isinstance(answer, OSError):
        return [], f"the name '{endpoint.host}' cannot be resolved"
    return answer, ""


def _knock(family: socket.AddressFamily, where: _SocketAddress, endpoint: Endpoint, deadline: float) -> str:
    """Why nobody answers at one of the host's addresses; empty if somebody does."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return NO_ANSWER
    with socket.socket(family, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(left_s)
        try:
            knocking.connect(where)
            if endpoint.scheme in _TLS:
                with unchecked_tls(knocking, endpoint.host):
                    pass
        except TimeoutError:
            return NO_ANSWER
        except ssl.SSLError as e:
            return tls_words(e)
        except OSError as e:
            return words_for(e.errno) or os.strerror(e.errno or errno.EIO)
    return ""


def unchecked_tls(connected: socket.socket, host: str) -> ssl.SSLSocket:
    """Begins TLS without looking at the certificate, as the readers do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connected, server_hostname=host)


def tls_words(error: ssl.SSLError) -> str:
    """Why TLS did not come about."""
    return f"TLS failed: {(error.reason or 'no handshake').lower().replace('_', ' ')}"
