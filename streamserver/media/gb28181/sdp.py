"""Session descriptions as GB/T 28181 writes them (annexes C and G): our offer to receive, and a device's answer."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from streamserver.core.errors import SourceError
from streamserver.core.gb28181_address import Gb28181Address

PROGRAM_STREAM = "PS/90000"
PAYLOADS = {96: PROGRAM_STREAM, 98: "H264/90000", 99: "H265/90000"}
"""What we take: RTP payload number -> encoding. A device that names no encodings means these."""

_SETUPS = {"tcp-passive": "passive", "tcp-active": "active"}
_SSRC = re.compile(r"[0-9]{1,10}")
_RTPMAP = re.compile(r"rtpmap:\s*(?P<payload>[0-9]{1,3})\s+(?P<encoding>[A-Za-z0-9.+-]{1,20}/[0-9]{1,9})", re.ASCII)
_MEDIA = re.compile(
    r"video\s+(?P<port>[0-9]{1,5})(?:/[0-9]+)?\s+(?P<protocol>[A-Za-z/]+)(?P<payloads>(?:\s+[0-9]{1,3})*)", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What we want to receive, and where.

    Attributes:
        media_ip: the address that the device is to send to.
        media_port: its port.
        transport: ``udp``; ``tcp-passive`` if we listen, ``tcp-active`` if we connect.
        ssrc: ten digits, see ``new_ssrc``.
        begin: start of the recording, with its zone; ``None`` for live.
        end: its end; ``None`` for live.
        device_type: which recordings are meant; ``None`` for all.
    """

    media_ip: str
    media_port: int
    transport: str
    ssrc: str
    begin: datetime | None = None
    end: datetime | None = None
    device_type: int | None = None

    @classmethod
    def for_address(cls, address: Gb28181Address, *, media_ip: str, media_port: int, transport: str) -> Offer:
        """The offer for all that ``address`` names, with an SSRC of its own."""
        return cls(
            media_ip=media_ip,
            media_port=media_port,
            transport=transport,
            ssrc=new_ssrc(address.server_id, playback=address.playback),
            begin=address.begin,
            end=address.end,
            device_type=address.device_type,
        )

    @property
    def playback(self) -> bool:
        """A recording is asked for, which has an end."""
        return self.begin is not None and self.end is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device is going to send.

    Attributes:
        media_ip: where the media comes from.
        media_port: its port.
        ssrc: ten digits; ``None`` if the device does not say.
        payloads: RTP payload number -> encoding, e.g. ``{96: "PS/90000"}``.
    """

    media_ip: str
    media_port: int
    ssrc: str | None = None
    payloads: Mapping[int, str] = field(default_factory=dict)


def new_ssrc(server_id: str, *, playback: bool) -> str:
    """Ten digits: 0 for live or 1 for a recording, five of the platform's domain, four at random."""
    return f"{int(playback)}{server_id[3:8]:0>5}{random.randrange(1, 10_000):04d}"


def offer_body(offer: Offer, *, device_id: str) -> bytes:
    """The session description of ``offer``; lines in the order that platforms expect."""
    tcp = offer.transport in _SETUPS
    kind = f"IP{ipaddress.ip_address(offer.media_ip).version} {offer.media_ip}"
    lines = ["v=0", f"o={device_id} 0 0 IN {kind}", f"s={'Playback' if offer.playback else 'Play'}"]
    if offer.playback:
        lines.append(f"u={device_id}:{offer.device_type or 0}")
    lines += [f"c=IN {kind}", f"t={_unix_s(offer.begin)} {_unix_s(offer.end)}"]
    numbers = " ".join(str(number) for number in PAYLOADS)
    lines += [f"m=video {offer.media_port} {'TCP/' if tcp else ''}RTP/AVP {numbers}", "a=recvonly"]
    lines += [f"a=rtpmap:{number} {encoding}" for number, encoding in PAYLOADS.items()]
    if tcp:
        lines += [f"a=setup:{_SETUPS[offer.transport]}", "a=connection:new"]
    lines.append(f"y={offer.ssrc}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _unix_s(when: datetime | None) -> int:
    return 0 if when is None else int(when.timestamp())


def parse_answer(body: bytes) -> Answer:
    """Reads a device's session description; unknown lines are passed over.

    Raises:
        SourceError: it does not say where video comes from, or refuses to send any.
    """
    lines = [line.strip() for line in body.decode("latin-1").split("\n")]
    media = next((found for line in _values(lines, "m") if (found := _MEDIA.match(line))), None)
    if media is None:
        raise SourceError("the device's answer names no video (SDP without an m=video line)")
    if not 0 < int(media["port"]) < 65536:
        raise SourceError(f"the device's answer refuses the video (SDP with port {media['port']})")
    ssrcs = [value for value in _values(lines, "y") if _SSRC.fullmatch(value)]
    return Answer(
        media_ip=_connection_ip(lines),
        media_port=int(media["port"]),
        ssrc=f"{ssrcs[0]:0>10}" if ssrcs else None,
        payloads=_payloads(media["payloads"].split(), _values(lines, "a")),
    )


def _values(lines: list[str], kind: str) -> list[str]:
    return [line[2:].strip() for line in lines if line.startswith(f"{kind}=")]


def _connection_ip(lines: list[str]) -> str:
    """The last ``c=`` line counts, that of the media; without one, the origin's address."""
    for value in [*reversed(_values(lines, "c")), *_values(lines, "o")]:
        try:
            return str(ipaddress.ip_address(value.split(" ")[-1].split("/")[0]))
        except ValueError:
            continue
    raise SourceError("the device's answer does not say where the video comes from (SDP without a c=IN IP4 line)")


def _payloads(numbers: list[str], attributes: list[str]) -> dict[int, str]:
    """Encodings of the offered numbers: as the answer names them, else as we did; unknown ones are left out."""
    named = {int(found["payload"]): found["encoding"] for a in attributes if (found := _RTPMAP.match(a))}
    offered = [int(number) for number in numbers] or list(named)
    known = {number: named.get(number) or PAYLOADS.get(number, "") for number in offered}
    return {number: encoding for number, encoding in known.items() if encoding}
