"""Stream and report addresses: what kind they are, how they come apart, and how they look without their secrets.

A password may hold any character, and people write it as it is. ``rtsp://admin:p@ss/w@10.0.0.1/1`` then has more than
one reading; the one that is taken has the likeliest host. With ``%40`` for ``@`` and its like there is only one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

_SOURCE_TYPES = {
    "rtsp": "RTSP",
    "rtsps": "RTSP",
    "rtmp": "RTMP",
    "rtmps": "RTMP",
    "gb28181": "GB28181",
    "gb28181_playback": "GB28181",
    "http": "HTTP",
    "https": "HTTP",
    "udp": "UDP",
    "srt": "SRT",
    "base64": "BASE64",
}

LIVE_SOURCE_TYPES = frozenset({"RTSP", "RTMP", "GB28181", "HTTP", "UDP", "SRT", "CAMERA"})
"""Sources with a clock of their own: who falls behind loses pictures, and when one stops, we connect again.

BASE64 is none of them: it has no end either, but whoever sends its pictures waits for us.
"""

_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w-][\w.-]*)(?P<port>:[0-9]{1,5})?"
_HOST_IN_ADDRESS = re.compile(_HOST + r"(?=[/?#]|\Z)")
_HOST_IN_TEXT = re.compile(_HOST + r"(?=[^\w@%]|\Z)")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_AFTER_HOST = re.compile("[/?#]")
_FILE = re.compile("file:(?://[^/?#]*)?(?P<path>[^?#]*)", re.IGNORECASE)
_NEXT_ADDRESS = re.compile(r"[\s\"'<(\[,;=]+[A-Za-z][A-Za-z0-9+._-]*://")
_WORDS = re.compile(r"\S+")
_CERTAIN, _LIKELY, _POSSIBLE = 2, 1, 0
"""How sure it is that a host is one: an IP address or one with a port; a name with dots; any other word."""

_SECRET_WORDS = "pass|pwd|psw|psk|token|secret|sign|auth|key|cred|session"  # noqa: S105 - words, no password  # nosec B105
_SECRET_NAME = rf"[\w.-]{{0,40}}(?:{_SECRET_WORDS})[\w.-]{{0,40}}"
_SECRET_PARAMETER = re.compile(rf"(?P<key>[?&;#]{_SECRET_NAME}=)(?P<value>[^&#;\s]+)", re.IGNORECASE)
_SECRET_IN_PATH = re.compile(rf"(?P<key>[/_,](?:{_SECRET_WORDS})\w{{0,40}}?=)(?P<value>[^&#;,/\s]+)", re.IGNORECASE)
"""Some cameras want ``/user=admin_password=…_channel=1.sdp``."""

_ENDS_CREDENTIALS = re.compile(r"[/?#@:%\[\]\\\s\x00-\x1f]")
_ENDS_RTMP_CREDENTIALS = re.compile("[/?#]")
_LONGEST_CREDENTIALS = 1024
"""In text, where it is not certain how far an address goes."""
_MOST_IN_TEXT = 200
"""Addresses in one text; from the next one on all of it is hidden, for finding the ends of so many takes long."""
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressParts:
    """An address with ``://`` taken apart; every part as it was written.

    Attributes:
        scheme: in small letters.
        user: ``None`` when no one is named.
        password: ``None`` when there is none.
        location: what follows the user: host, port, path, options.
    """

    scheme: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    location: str

    @property
    def host(self) -> str:
        """The host, without brackets; empty when there is none."""
        found = re.match(r"(?P<host>\[[^\]]*\]|[^@:/?#]+)", self.location.removeprefix("@"))
        return found["host"].strip("[]") if found else ""

    @property
    def port(self) -> int | None:
        """The port; ``None`` when there is none."""
        found = re.match(r"(?:\[[^\]]*\]|[^/?#:]*):(?P<port>[0-9]{1,5})(?=[/?#]|\Z)", self.location)
        return int(found["port"]) if found else None


def take_apart(address: str) -> AddressParts | None:
    """The parts of an address with ``://``; ``None`` for a path.

    A user and a password may hold any character, as it is or percent-encoded.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return None
    end = _end_of_credentials(rest, _HOST_IN_ADDRESS)
    if end < 0:
        return AddressParts(scheme=scheme.lower(), location=rest)
    user, colon, password = rest[:end].partition(":")
    named = bool(user or colon)
    return AddressParts(
        scheme=scheme.lower(),
        user=user if named else None,
        password=password if colon else None,
        location=rest[end + 1 :],
    )


def for_ffmpeg(address: str) -> str:
    """The address as FFmpeg (PyAV, OpenCV) has to get it, whatever its user and password hold.

    Everything that opens an address through FFmpeg passes it through here, and shows it to nobody. FFmpeg ends the
    credentials at the first ``/``, ``?`` or ``#``, so these are percent-encoded; for RTSP and HTTP it undoes that. For
    RTMP it does not, so there only what has to be is encoded, and the rest decoded. As its RTSP takes no more than 127
    bytes of credentials, nothing is encoded without need. Other addresses stay as they are.
    """
    rtmp = address[:4].lower() == "rtmp"
    return _with_credentials(address, _escaped_for_rtmp if rtmp else _escaped_where_needed)


def for_urllib(address: str) -> str:
    """The address as the standard library's ``urlsplit`` has to get it: all of user and password percent-encoded."""
    return _with_credentials(address, _escaped)


def decoded(text: str) -> str:
    """User, password or option with its percent escapes undone; as it is where they are no UTF-8."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text


def secrets_of(address: str) -> list[str]:
    """The secrets of an address, as they are written there: the password, and options like ``token``."""
    parts = take_apart(address)
    location = address if parts is None else parts.location
    found = [match["value"] for kind in (_SECRET_PARAMETER, _SECRET_IN_PATH) for match in kind.finditer(location)]
    return [parts.password, *found] if parts is not None and parts.password else found


def masked(address: str) -> str:
    """A whole address without its secrets: exact, for its end is known; then rather too much than too little, too."""
    parts = take_apart(address)
    if parts is not None and parts.user is not None:
        address = f"{address.partition('://')[0]}://***@{parts.location}"
    return mask_credentials(address)


def mask_credentials(text: str) -> str:
    """Replaces user, password and secret options of every address in ``text`` by ``***``.

    A whole address is for ``masked``. Here it is not always certain how far a password goes; then rather too much is
    hidden than too little.
    """
    if "@" in text:
        text = _WORDS.sub(_mask_without_scheme, _mask_addresses(text))
    if "=" in text:
        text = _SECRET_PARAMETER.sub(r"\g<key>***", text)
        text = _SECRET_IN_PATH.sub(r"\g<key>***", text) if "://" in text else text
    return text


def source_type(address: str) -> str:
    """The sophon-stream ``source_type`` of a stream address, or ours where it has none.

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


def has_end(address: str) -> bool:
    """True for a source that ends by itself: a file, a folder of pictures, a GB28181 recording."""
    return source_type(address) == "VIDEO" or address.lower().startswith("gb28181_playback://")


def local_path(address: str) -> str:
    """The path that a path or a ``file://`` address names; another address as it is."""
    found = _FILE.match(address)
    return unquote(found["path"]) if found else address


def is_http_url(address: str) -> bool:
    """True for an ``http`` or ``https`` address with a port in range and a host that can be looked up."""
    try:
        parts = urlsplit(for_urllib(address))
        host = ascii_host(parts.hostname or "")
        return parts.scheme in ("http", "https") and bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def ascii_host(host: str) -> str:
    """A host as name servers are asked for it; raises ``ValueError`` for one that is no name."""
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _end_of_credentials(rest: str, host: re.Pattern[str], *, cautious: bool = False) -> int:
    """Where the ``@`` stands that parts the credentials from the host; -1 where there are none.

    Args:
        rest: what follows ``://``.
        host: what a host looks like, and what may follow it.
        cautious: take for credentials whatever may be.
    """
    found = _AFTER_HOST.search(rest)
    cut = found.start() if found else len(rest)
    ends = _possible_ends(rest, host)
    later = [at for at, _ in ends if at >= cut]
    certain = [at for at, sure in ends if at >= cut and sure == _CERTAIN]
    in_front = [end for end in ends if end[0] < cut]
    if in_front:
        at, sure = in_front[-1]
        better = [end for end in ends if end[0] >= cut and end[1] > sure]
        best = max(better, key=lambda end: (end[1], end[0]), default=(at, sure))[0]
        return at if "://" in rest[:best] else best
    head = rest[:cut]
    if ":" not in head:
        return -1
    plain = host.fullmatch(head)
    if plain is None:
        return (certain or later or [-1])[-1]
    if _certainty(plain["host"], port=False) > _POSSIBLE:
        return -1
    if cautious:
        return (certain or later or [-1])[-1]
    return certain[-1] if certain and "://" not in rest[: certain[-1]] else -1


def _possible_ends(rest: str, host: re.Pattern[str]) -> list[tuple[int, int]]:
    """Every ``@`` that a host follows, and how sure it is that this is one."""
    ends = []
    at = rest.find("@")
    while at >= 0:
        if found := host.match(rest, at + 1):
            ends.append((at, _certainty(found["host"], port=bool(found["port"]))))
        at = rest.find("@", at + 1)
    return ends


def _certainty(host: str, *, port: bool) -> int:
    if port or host.startswith("[") or host == "localhost" or _IPV4.fullmatch(host):
        return _CERTAIN
    return _LIKELY if "." in host else _POSSIBLE


def _with_credentials(address: str, escape: Callable[[str], str]) -> str:
    parts = take_apart(address)
    if parts is None or parts.user is None:
        return address
    password = "" if parts.password is None else f":{escape(parts.password)}"
    return f"{parts.scheme}://{escape(parts.user)}{password}@{parts.location}"


def _escaped(text: str) -> str:
    """With everything escaped that is no letter, digit or ``-._~``; what is escaped already stays."""
    return "".join(part if i % 2 else quote(part, safe="") for i, part in enumerate(_ESCAPE.split(text)))


def _escaped_where_needed(text: str, needed: re.Pattern[str] = _ENDS_CREDENTIALS) -> str:
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return _escaped(text)
    return needed.sub(lambda found: quote(found[0], safe=""), plain)


def _escaped_for_rtmp(text: str) -> str:
    return _escaped_where_needed(text, _ENDS_RTMP_CREDENTIALS)


def _mask_addresses(text: str) -> str:
    """Hides user and password of every address with ``://``."""
    masked, done, count = [], 0, 0
    start = text.find("://")
    while start >= 0 and count < _MOST_IN_TEXT:
        start += len("://")
        end = _end_in_text(text, start)
        if end > start:
            masked += [text[done:start], "***"]
            done = start = end
        start = text.find("://", start)
        count += 1
    rest = text[done:] if start < 0 else f"{text[done:start]}://***"
    return "".join([*masked, rest])


def _end_in_text(text: str, start: int) -> int:
    """Where the ``@`` stands that ends the credentials beginning at ``start``; -1 for none."""
    line_end = text.find("\n", start)
    line = text[start : min(len(text) if line_end < 0 else line_end, start + _LONGEST_CREDENTIALS)]
    following = _NEXT_ADDRESS.search(line)
    line = line[: following.start()] if following else line
    word_end = next((i for i, letter in enumerate(line) if letter.isspace()), len(line))
    word = line[:word_end]
    end = _end_of_credentials(word, _HOST_IN_TEXT, cautious=True)
    if end >= 0 and _certainty_at(word, end) > _POSSIBLE:
        return start + end
    further = _possible_ends(line, _HOST_IN_TEXT)
    if end < 0 and not _may_go_on(word):
        return -1
    certain = [at for at, sure in further if at > max(end, 0) and sure == _CERTAIN]
    if certain:
        return start + certain[-1]
    if end < 0 and _HOST_IN_TEXT.fullmatch(_head(word)) is None:
        end = further[-1][0] if further else line.rfind("@")
    return start + end if end >= 0 else -1


def _certainty_at(word: str, at: int) -> int:
    found = _HOST_IN_TEXT.match(word, at + 1)
    return _certainty(found["host"], port=bool(found["port"])) if found else _POSSIBLE


def _head(word: str) -> str:
    return _AFTER_HOST.split(word, maxsplit=1)[0]


def _may_go_on(word: str) -> bool:
    """Whether what looks like an address so far may be a user and the start of a password with blanks."""
    head = _head(word)
    plain = _HOST_IN_TEXT.fullmatch(head)
    return ":" in head and (plain is None or _certainty(plain["host"], port=False) == _POSSIBLE)


def _mask_without_scheme(found: re.Match[str]) -> str:
    """``admin:password@host``, and slips like ``rtsp:/admin:password@host``; a SIP name is none."""
    word = found[0]
    end = word.rfind("@")
    colon = word.find(":", 0, max(end, 0))
    if colon < 0 or "://" in word[:end]:
        return word
    if word[:colon].lower().endswith(("sip", "sips")):
        colon = word.find(":", colon + 1, end)
    return word if colon < 0 else f"{word[: colon + 1]}***{word[end:]}"
