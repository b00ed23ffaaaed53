"""What each endpoint needs, and what of a request tells who sent it: pure, without Flask."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from streamserver.core.networks import Address


class Role(IntEnum):
    """What somebody may do: nothing that is not open to everybody, look, or also change."""

    NONE = 0
    READ = 1
    WRITE = 2


NEEDED: Mapping[str, Role] = {
    "/": Role.NONE,
    "/docs": Role.NONE,
    "/openapi.json": Role.NONE,
    "/livez": Role.NONE,
    "/readyz": Role.NONE,
    "/license": Role.NONE,
    "/metrics": Role.READ,
    "/task/list": Role.READ,
    "/task/query": Role.READ,
    "/task/log": Role.READ,
    "/task/preview": Role.READ,
    "/task/snapshot": Role.READ,
    "POST /task/snapshot": Role.WRITE,  # the server opens an address that the caller names
    "/alarm/dead": Role.READ,
    "/task/create": Role.WRITE,
    "/task/update": Role.WRITE,
    "/task/delete": Role.WRITE,
    "/alarm/replay": Role.WRITE,
}
"""By rule, or by method and rule where methods differ. What is not here is refused to everybody."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::\d*)?")
_LONGEST_CREDENTIALS = 512


def needed(rule: str, method: str) -> Role | None:
    """The role that a request needs; ``None`` for a rule that the table lacks."""
    return NEEDED.get(f"{method} {rule}", NEEDED.get(rule))


def address_of(environ: Mapping[str, Any]) -> Address | None:
    """Where the connection comes from, never what a header says; ``None`` on a Unix socket."""
    return _address(str(environ.get("REMOTE_ADDR", "")).partition("%")[0])


def caller_network(address: Address | None) -> str:
    """What counts as one caller: an IPv4 address, or the /64 that one IPv6 host has to itself."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "unix socket")


def is_forwarded(environ: Mapping[str, Any]) -> bool:
    """True when a proxy passed it on: the connection is the proxy's, the caller may be anybody."""
    return any(name in environ for name in _FORWARDED)


def is_loopback(host: str) -> bool:
    """True for a setting ``host`` that only this machine can reach."""
    address = _address(host.strip("[]"))
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_own_host(host: str, names: frozenset[str]) -> bool:
    """True for a ``Host`` header that no web page can have pointed at this machine: an address, or one of its names."""
    match = _HOST.fullmatch(host.strip().lower())
    if match is None:
        return False
    name = match[1]
    return not name or "." not in name or _address(name.strip("[]")) is not None or name in names


def is_from_other_site(environ: Mapping[str, Any]) -> bool:
    """True when a browser says that a page of another site sent this.

    Over plain HTTP browsers leave ``Sec-Fetch-Site`` out unless they ask 127.0.0.1, but tell the page's ``Origin``.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "")
    if site:
        return str(site).strip().lower() == "cross-site"
    origin = environ.get("HTTP_ORIGIN", "")
    return bool(origin) and _host_name(origin.rpartition("//")[2]) != _host_name(environ.get("HTTP_HOST", ""))


def credentials(header: str) -> tuple[str, bool] | None:
    """The token of an ``Authorization`` header, and whether it came as a password (Basic); ``None`` without either.

    What cannot be read gives an empty token, which proves nothing.
    """
    scheme, _, rest = header.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return (rest if len(rest) <= _LONGEST_CREDENTIALS else ""), False
    if scheme.lower() == "basic":
        return _password(rest), True
    return None


def _password(encoded: str) -> str:
    if len(encoded) > _LONGEST_CREDENTIALS or not encoded.isascii():
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _host_name(host: str) -> str | None:
    match = _HOST.fullmatch(host.strip().lower())
    return match[1] if match else None


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
