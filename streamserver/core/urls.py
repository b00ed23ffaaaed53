"""Stream and report addresses: what kind they are, and how they look without their secrets."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_CREDENTIALS = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+._-]*://)(?P<user>[^\s/?#]*)@")
_SECRET_PARAMETER = re.compile(
    r"(?P<key>[?&;#](?:password|passwd|pwd|token|secret|key|access_token|auth|sign)=)[^&#;\s]+", re.IGNORECASE
)

_SOURCE_TYPES = {
    "rtsp": "RTSP",
    "rtsps": "RTSP",
    "rtmp": "RTMP",
    "rtmps": "RTMP",
    "gb28181": "GB28181",
    "gb28181_playback": "GB28181",
    "http": "HTTP",
    "https": "HTTP",
}

LIVE_SOURCE_TYPES = frozenset({"RTSP", "RTMP", "GB28181", "HTTP", "CAMERA"})
"""Sources that have no end: when one stops, we connect again."""


def mask_credentials(text: str) -> str:
    """Replaces user, password and secret parameters of every address in ``text`` by ``***``.

    A password may hold any character, so everything between ``://`` and the last ``@`` before the path goes.
    """
    masked = _CREDENTIALS.sub(r"\g<scheme>***@", text)
    return _SECRET_PARAMETER.sub(r"\g<key>***", masked)


def source_type(address: str) -> str:
    """The sophon-stream ``source_type`` of a stream address.

    Returns:
        ``VIDEO`` for an absolute path or ``file://``, ``CAMERA`` for ``/dev/video*``, the type of a known scheme, or
        an empty string when the address is none of these.
    """
    if address.startswith("/dev/video"):
        return "CAMERA"
    if address.startswith("/") or address.lower().startswith("file://"):
        return "VIDEO"
    scheme, separator, _ = address.partition("://")
    return _SOURCE_TYPES.get(scheme.lower(), "") if separator else ""


def local_path(address: str) -> str:
    """The path that a path or a ``file://`` address names; another address as it is."""
    return unquote(urlsplit(address).path) if address.lower().startswith("file:") else address


def is_http_url(address: str) -> bool:
    """True for an ``http`` or ``https`` address with a host and a port in range."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
