"""``gb28181://`` and ``gb28181_playback://`` addresses: the platform, our name there, the camera and the time.

``gb28181://platform:password@host:port?deviceid=…#localid=…`` is how sophon-stream's FFmpeg writes them: the options
after the question mark are parted by ``#`` or ``&``, and the scheme's underscore makes the standard library refuse it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from streamserver.core.errors import AddressError
from streamserver.core.slips import nearest
from streamserver.core.urls import decoded

DEFAULT_PORT = 5060
CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The zone of times unless ``timezone`` names another; needs no zone files and has had no summer time since 1991."""

_OPTIONS = frozenset(
    {"deviceid", "devicetype", "localid", "localip", "localmediaport", "begtime", "endtime", "timezone"}
)
_ADDRESS = re.compile(
    r"(?P<scheme>gb28181|gb28181_playback)://(?:(?P<user>[^:@]*)(?::(?P<password>.*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>\d+))?/?\?(?P<options>.*)",
    re.IGNORECASE | re.DOTALL,
)
_ID = re.compile(r"[0-9]{18,20}")
_TIME = re.compile(r"[0-9]{14}")
_OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})")
_HIGHEST_RECORD_TYPE = 3
_USER_TYPE = "400"
"""Digits 11 to 13 of an id, for a user at a terminal (GB/T 28181, annex on the coding of ids)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gb28181Address:
    """Where a GB28181 stream comes from.

    Attributes:
        server_id: the platform's id, 18 to 20 digits.
        password: what the platform wants to hear; may be empty.
        host: the platform's name or IP address, without brackets.
        port: the platform's SIP port.
        device_id: the camera or channel.
        local_id: what we call ourselves there; made from the platform's domain where the address names none.
        local_ip: the address under which the platform reaches us; empty for the one that leads to it.
        media_port: where we take media; 0 for any free one.
        device_type: which recordings are meant: 0 all, 1 manual, 2 alarm, 3 scheduled; ``None`` when it is not said.
        begin: start of the recording, with its zone; ``None`` for live.
        end: its end, after ``begin``; ``None`` for live.
        playback: a recording is asked for, which has an end.
    """

    server_id: str
    password: str = field(repr=False)
    host: str
    port: int
    device_id: str
    local_id: str
    local_ip: str = ""
    media_port: int = 0
    device_type: int | None = None
    begin: datetime | None = None
    end: datetime | None = None
    playback: bool = False


def parse_gb28181(address: str) -> Gb28181Address:
    """Takes an address apart. A password may hold any character as it is; ``%40`` and its like stand for one.

    Raises:
        AddressError: names the part that is wrong and the cure; never shows the password.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise AddressError(
            "address",
            "it has not the form of a GB28181 address",
            cure="write the platform's id and password before @host:port, and ?deviceid=… after it (docs/sources.md)",
        )
    options = _options(found["options"])
    playback = found["scheme"].lower() == "gb28181_playback"
    begin, end = _span(options, playback=playback)
    server_id = _id("platform id", decoded(found["user"] or ""), cure="write it before the password: gb28181://id:…")
    device_id = _id("deviceid", options.get("deviceid", ""), cure="add ?deviceid= with the camera's id")
    local_id = options.get("localid") or _made_up_id(server_id, device_id)
    return Gb28181Address(
        server_id=server_id,
        password=decoded(found["password"] or ""),
        host=found["host"].strip("[]"),
        port=_number("port", found["port"] or str(DEFAULT_PORT), low=1, high=65535),
        device_id=device_id,
        local_id=_id("localid", local_id, cure="write the id that the platform knows this server by"),
        local_ip=_ip(options.get("localip", "")),
        media_port=_number("localmediaport", options.get("localmediaport", "0"), low=0, high=65534),
        device_type=_device_type(options),
        begin=begin,
        end=end,
        playback=playback,
    )


def _options(text: str) -> dict[str, str]:
    """What follows the question mark, without empty values; names in small letters, unknown ones left out."""
    options: dict[str, str] = {}
    for part in filter(None, re.split("[#&]", text)):
        name, _, value = part.partition("=")
        name = name.strip().lower()
        near = nearest(name, _OPTIONS)
        if name not in _OPTIONS and near:
            raise AddressError(name, "there is no such option", cure=f"write {near}")
        if name in options:
            raise AddressError(name, "it is there twice", cure="keep one of them")
        if name in _OPTIONS and value.strip():
            options[name] = decoded(value.strip())
    return options


def _id(name: str, value: str, *, cure: str) -> str:
    if not _ID.fullmatch(value):
        shown = f"got '{value}'" if value else "it is missing"
        raise AddressError(name, f"expected 20 digits, {shown}", cure=cure)
    return value


def _made_up_id(server_id: str, device_id: str) -> str:
    """An id in the platform's domain, always the same for the same camera of the same platform."""
    digest = hashlib.sha256(f"{server_id} {device_id}".encode()).hexdigest()
    return f"{server_id[:10]}{_USER_TYPE}0{int(digest[:12], 16) % 1_000_000:06d}"


def _number(name: str, value: str, *, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high):
        raise AddressError(name, f"got '{value}'", cure=f"write a number from {low} to {high}")
    return int(value)


def _device_type(options: Mapping[str, str]) -> int | None:
    value = options.get("devicetype")
    return None if value is None else _number("devicetype", value, low=0, high=_HIGHEST_RECORD_TYPE)


def _ip(value: str) -> str:
    if not value:
        return ""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as e:
        raise AddressError(
            "localip", f"'{value}' is no IP address", cure="write one of this server, or leave it out"
        ) from e


def _span(options: Mapping[str, str], *, playback: bool) -> tuple[datetime | None, datetime | None]:
    zone = _zone(options.get("timezone", ""))
    begin, end = (_time(name, options.get(name, ""), zone) for name in ("begtime", "endtime"))
    if not playback:
        if begin or end:
            name = "begtime" if begin else "endtime"
            raise AddressError(name, "a live stream has no times", cure="write gb28181_playback:// for a recording")
        return None, None
    for name, value in (("begtime", begin), ("endtime", end)):
        if value is None:
            raise AddressError(name, "it is missing", cure=f"add #{name}=YYYYMMDDhhmmss")
    if begin is not None and end is not None and begin >= end:
        raise AddressError(
            "endtime", f"{options['endtime']} is not after begtime {options['begtime']}", cure="correct one of them"
        )
    return begin, end


def _time(name: str, value: str, zone: tzinfo) -> datetime | None:
    if not value:
        return None
    try:
        if not _TIME.fullmatch(value):
            raise ValueError(value)
        return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError as e:
        raise AddressError(name, f"'{value}' is no time", cure="write YYYYMMDDhhmmss, e.g. 20231024155207") from e


def _zone(name: str) -> tzinfo:
    """``Asia/Shanghai``, ``UTC`` or ``+08:00``."""
    if not name or name == str(CHINA):
        return CHINA
    try:
        if offset := _OFFSET.fullmatch(name):
            span = timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"]))
            return timezone(span if offset["sign"] == "+" else -span)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as e:  # KeyError: ZoneInfoNotFoundError
        raise AddressError(
            "timezone", f"'{name}' is unknown", cure="write a name like Asia/Shanghai, or an offset like +08:00"
        ) from e
