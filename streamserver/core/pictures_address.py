"""``base64://host:port/path``: where the engine takes pictures by HTTP.

sophon-stream calls that source BASE64, with a path and a ``base64_port``; this is both in one.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import unquote

from streamserver.core.errors import AddressError
from streamserver.core.urls import take_apart

DEFAULT_PORT = 12348
"""sophon-stream's ``base64_port``."""

_FORM = "base64://127.0.0.1:18080/cam1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesAddress:
    """Where pictures are taken.

    Attributes:
        host: an IP address of this machine, or one that stands for several of them (``0.0.0.0``, ``::``).
        port: the TCP port.
        path: of the requests, with percent escapes undone; at least ``/``.
    """

    host: str
    port: int
    path: str

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def is_ours(self) -> bool:
        """Whether this machine can listen there; the port may be taken all the same."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((self.host, 0))
        except OSError:
            return False
        return True


def parse_pictures(address: str) -> PicturesAddress:
    """Takes an address apart; asks no name server.

    Raises:
        AddressError: names the part that is wrong and the cure.
    """
    parts = take_apart(address)
    if parts is None or parts.scheme != "base64" or parts.user is not None:
        raise AddressError("address", "it has not the form of an address for pictures", cure=f"write e.g. {_FORM}")
    if parts.port is None or not 1 <= parts.port <= 65535:
        shown = "it is missing" if parts.port is None else f"{parts.port} is no port"
        raise AddressError("port", shown, cure=f"write host and port, e.g. {_FORM}")
    _, slash, path = parts.location.partition("/")
    if "?" in parts.location or "#" in parts.location:
        raise AddressError("path", "it holds '?' or '#'", cure=f"write a plain path, e.g. {_FORM}")
    return PicturesAddress(host=_host(parts.host), port=parts.port, path=unquote(f"/{path}" if slash else "/"))


def _host(host: str) -> str:
    name = "127.0.0.1" if host.lower() == "localhost" else host
    try:
        return str(ipaddress.ip_address(name))
    except ValueError as e:
        raise AddressError(
            "host",
            f"'{host}' is no IP address" if host else "it is missing",
            cure="write 127.0.0.1, or the address of this server at which pictures arrive",
        ) from e
