"""Whether a web page of somebody else sent a request: browsers reach ports of this machine that nobody else does."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

_LOCAL = "localhost"


def is_from_other_site(header: Callable[[str], str | None], *, names: Collection[str] = ()) -> bool:
    """True when a browser says that a page of another site sent this; programs that are none say nothing.

    A name may be pointed at any machine, also between two requests of a page, so a page is no stranger only when it
    came from the very IP address that it asks, from ``localhost``, or from one of ``names``. ``Origin`` is looked at
    because not every browser sends ``Sec-Fetch-Site``.

    Args:
        header: gives the header of a name, whatever its case.
        names: hosts in small letters whose pages may ask.
    """
    origin = header("Origin")
    if origin is None:
        return (header("Sec-Fetch-Site") or "").strip().lower() == "cross-site"
    page = _host(origin)
    if page in names:
        return False
    asked = _host(f"//{header('Host') or ''}")
    return page != asked or not (page == _LOCAL or _is_ip_address(page))


def names_of(host_names: str) -> frozenset[str]:
    """The names of the setting ``host_names``, in small letters."""
    return frozenset(filter(None, (name.strip().lower() for name in host_names.split(","))))


def _host(address: str) -> str:
    try:
        host = (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""
    return _LOCAL if _is_loopback(host) else host


def _is_loopback(host: str) -> bool:
    return _is_ip_address(host) and ipaddress.ip_address(host).is_loopback


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
