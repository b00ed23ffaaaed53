"""What ``/task/create`` says of addresses, as far as that can be said without opening them."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamserver.core.errors import AddressError, BadRequestError
from streamserver.core.gb28181_address import parse_gb28181
from streamserver.core.pictures_address import parse_pictures
from streamserver.core.secrets import register
from streamserver.core.strict_json import describe
from streamserver.core.urls import for_urllib, is_http_url, local_path, source_type, take_apart
from streamserver.core.wire_errors import fault

_KINDS = "rtsp(s), rtmp(s), http(s), udp, srt, gb28181, gb28181_playback or base64"
_ADDRESS_PATH = "$.InputSrc.StreamSrc.Address"
_CAMERA = re.compile("/dev/video[0-9]+")


def sensible_address(address: str) -> str:
    """What can be said of an address without opening it; from here on, nothing that is logged shows its secrets."""
    register(address)
    if not source_type(address):
        if "://" in address:
            raise fault("unknown kind of address", cure=f"use {_KINDS}, or the absolute path of a file")
        raise fault("not an absolute path", cure="write the whole path from / on, or an address like rtsp://host/…")
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() != "file" and not rest.strip("/"):
        raise fault("there is no host", cure=f"write {scheme}://host/…")
    return address if address.startswith("/") else f"{scheme.lower()}{separator}{rest}"


def report_address(address: str) -> str:
    """An address that alarms can go to."""
    register(address)
    if not is_http_url(address) or re.search(r"\s", for_urllib(address)):
        raise fault("not an http or https address", cure="write http://host:port/path")
    return address


def check_source(address: str, *, source_exists: Callable[[str], bool], foreign_engine: bool) -> None:
    """Whether the engine can be meant to read ``address``; see ``messages.parse_create``.

    Raises:
        BadRequestError: it cannot; says why, and the cure.
    """
    kind = source_type(address)
    if kind == "VIDEO" and not source_exists(local_path(address)):
        raise BadRequestError(
            f"no readable file or folder {describe(local_path(address))} on this server",
            path=_ADDRESS_PATH,
            cure="copy it to the server, or correct the path",
        )
    if kind == "CAMERA" and not _CAMERA.fullmatch(address):
        raise BadRequestError(
            f"{describe(address)} is no camera of this server", path=_ADDRESS_PATH, cure="write /dev/video0 or the like"
        )
    if foreign_engine:
        _check_foreign(address, kind)
        return
    try:
        _check_parts(address, kind)
    except AddressError as e:
        raise BadRequestError(f"{e.message}, got {describe(address)}", path=_ADDRESS_PATH, cure=e.cure) from e


def _check_parts(address: str, kind: str) -> None:
    """What an address of our own engine's kinds must hold; raises ``AddressError``."""
    if kind == "GB28181":
        parse_gb28181(address)
    elif kind == "BASE64" and not (listens := parse_pictures(address)).is_ours:
        raise AddressError(
            "host",
            f"{listens.host} is no address of this server",
            cure="write 127.0.0.1, or the address of this server at which pictures arrive",
        )
    elif parts := take_apart(address):
        port = parts.port
        scheme = address.partition("://")[0]
        if port is None and kind in ("UDP", "SRT"):
            raise AddressError("port", "it is missing", cure=f"write {scheme}://host:port")
        if port is not None and not 1 <= port <= 65535:
            raise AddressError("port", f"{port} is no port", cure="write one from 1 to 65535")


def _check_foreign(address: str, kind: str) -> None:
    """What a sophon-stream program does not read, or crashes of."""
    scheme = address.partition("://")[0]
    if kind in ("UDP", "SRT", "BASE64") or scheme in ("rtsps", "rtmps"):
        raise BadRequestError(
            f"sophon-stream reads no {scheme} addresses, got {describe(address)}",
            path=_ADDRESS_PATH,
            cure="use rtsp, rtmp, http(s) or gb28181, or leave stream_path without a program for our own engine",
        )
