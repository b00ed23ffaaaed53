"""A GB28181 platform with one camera, for tests and by hand: ``python -m tests.media.gb28181.device --help``.

Written against the standard, not against our client: nothing of ``streamserver`` is used here.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import random
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.media.gb28181.ps_muxer import CLOCK_HZ, AccessUnit, Clip, pack, read_clip, rtp_packets
from tests.media.gb28181.way import Way

PLATFORM_ID = "34020000002000000001"
CAMERA_ID = "34020000001320000001"
PASSWORD = "p@ss/12345"
RECORDED_FROM = 1_698_134_400
"""UNIX seconds of the recording's first picture: 2023-10-24 16:00:00 in China."""

_TICK_S = 0.1
_UDP_PAUSE_S = 0.001

Send = Callable[[str], None]


@dataclass(slots=True)
class Faults:
    """What goes wrong."""

    swap: float = 0.0
    """Share of UDP packets that change places with the next."""
    lose: float = 0.0
    """Share of packets that are not sent."""
    refuse: int = 0
    """Status that answers every INVITE."""
    refuse_tcp: bool = False
    """Media over TCP is answered 488."""
    silent: bool = False
    """An INVITE gets no answer."""
    no_map: bool = False
    no_media: bool = False
    other_ssrc: bool = False
    bye_after: int = 0
    """Pictures after which the first call of a device ends with BYE."""
    no_notice: bool = False
    """A recording ends with BYE, without a word of its having ended."""
    interleaved: bool = False
    """TCP framing as in RTSP."""


@dataclass(slots=True)
class Call:
    """One INVITE that was accepted."""

    request: dict[str, str]
    offer: dict[str, str]
    send: Send
    tag: str
    stopped: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket | None = None
    way: Way | None = None

    @property
    def playback(self) -> bool:
        return self.offer["s"] == "Playback"

    @property
    def address(self) -> tuple[str, int]:
        return self.offer["c"].split()[-1], int(self.offer["m"].split()[1])

    @property
    def tcp(self) -> bool:
        return "TCP" in self.offer["m"]


class Device:
    """The platform and its camera, on one port over UDP and TCP until ``stop``.

    Args:
        clip: what the camera sees, and has recorded from ``RECORDED_FROM`` on.
        port: of SIP; 0 for any.
        speed: times real time; 0 for as fast as the receiver takes it.
        faults: what goes wrong.
    """

    def __init__(self, clip: Clip, *, port: int = 0, speed: float = 0.0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.seen: list[str] = []
        self.calls: list[Call] = []
        self.errors: list[BaseException] = []
        self._clip = clip
        self._speed = speed
        self._random = random.Random(1)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(100)
        self._nonce = f"{random.getrandbits(64):016x}"
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._start(self._serve_udp)
        self._start(self._serve_tcp)

    def address(self, *, playback_s: int = 0, options: str = "") -> str:
        """What a user would write to see the camera, or the first ``playback_s`` seconds of its recording."""
        scheme, times = "gb28181", ""
        if playback_s:
            scheme = "gb28181_playback"
            times = f"#begtime={_china(RECORDED_FROM)}#endtime={_china(RECORDED_FROM + playback_s)}"
        user = f"{PLATFORM_ID}:{PASSWORD}"
        return f"{scheme}://{user}@127.0.0.1:{self.port}?deviceid={CAMERA_ID}#devicetype=3{times}{options}"

    def stop(self) -> None:
        """Is gone at once, without a word."""
        self._stop.set()
        for call in self.calls:
            call.stopped.set()
            if call.way is not None:
                call.way.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._udp, self._listener, *(call.listener for call in self.calls if call.listener)):
            end.close()
        assert not self.errors, self.errors

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as e:
                self.errors.append(e)
                raise

        with self._lock:
            thread = threading.Thread(target=run, daemon=True)
            self._threads.append(thread)
            thread.start()

    # ---- SIP

    def _serve_udp(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._udp], [], [], _TICK_S)[0]:
                continue
            data, sender = self._udp.recvfrom(65536)
            self._on_message(data.decode("latin-1"), functools.partial(self._send_udp, to=sender))

    def _send_udp(self, text: str, to: tuple[str, int]) -> None:
        if not self._stop.is_set():
            self._udp.sendto(text.encode("latin-1"), to)

    def _serve_tcp(self) -> None:
        while not self._stop.is_set():
            if select.select([self._listener], [], [], _TICK_S)[0]:
                self._start(self._serve_connection, self._listener.accept()[0])

    def _serve_connection(self, connection: socket.socket) -> None:
        buffer = b""
        with connection:
            while not self._stop.is_set():
                if not select.select([connection], [], [], _TICK_S)[0]:
                    continue
                data = connection.recv(65536)
                if not data:
                    return
                buffer = (buffer + data).lstrip(b"\r\n")
                while (end := buffer.find(b"\r\n\r\n")) >= 0:
                    length = re.search(rb"\r\n(?:content-length|l)\s*:\s*(\d+)", buffer[:end], re.IGNORECASE)
                    end += 4 + int(length[1] if length else 0)
                    if len(buffer) < end:
                        break
                    message, buffer = buffer[:end], buffer[end:]
                    self._on_message(message.decode("latin-1"), lambda text: connection.sendall(text.encode("latin-1")))

    def _on_message(self, text: str, send: Send) -> None:
        head, _, body = text.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method = first.split(" ")[0]
        if not first or method == "SIP/2.0":
            return
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        headers["first"] = first
        self.seen.append(method)
        if method == "REGISTER":
            self._on_register(headers, send)
        elif method == "INVITE":
            self._on_invite(headers, body, send)
        elif method == "ACK":
            self._on_ack(headers)
        elif method == "BYE":
            for call in self._calls_of(headers):
                call.stopped.set()
            send(_response(headers, "200 OK"))
        else:
            send(_response(headers, "200 OK"))

    def _on_register(self, headers: dict[str, str], send: Send) -> None:
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', headers.get("authorization", "")))
        if not given:
            challenge = f'Digest realm="3402000000",nonce="{self._nonce}",algorithm=MD5,qop="auth"'
            send(_response(headers, "401 Unauthorized", f"WWW-Authenticate: {challenge}"))
            return
        ha1 = _md5(f"{given.get('username')}:3402000000:{PASSWORD}")
        ha2 = _md5(f"REGISTER:{given.get('uri')}")
        middle = f"{self._nonce}:{given.get('nc')}:{given.get('cnonce')}:auth" if "qop" in given else self._nonce
        right = given.get("response") == _md5(f"{ha1}:{middle}:{ha2}")
        expires = f"Expires: {headers.get('expires', '3600')}"
        send(_response(headers, "200 OK" if right else "403 Forbidden", expires))

    def _on_invite(self, headers: dict[str, str], body: str, send: Send) -> None:
        known = self._calls_of(headers)
        if self.faults.silent or known:
            return
        offer = {line[0]: line[2:] for line in body.split("\r\n") if line[:2] in ("s=", "c=", "m=", "t=", "y=", "u=")}
        offer["setup"] = next(iter(re.findall(r"a=setup:(\w+)", body)), "")
        tag = f"dev{random.getrandbits(32):08x}"
        status = self.faults.refuse or (488 if self.faults.refuse_tcp and "TCP" in offer["m"] else 0)
        send(_response(headers, "100 Trying"))
        if status:
            send(_response(headers, f"{status} No", tag=tag))
            return
        call = Call(headers, offer, send, tag)
        if offer["setup"] == "active":
            call.listener = socket.create_server(("127.0.0.1", 0))
        self.calls.append(call)
        media_port = call.listener.getsockname()[1] if call.listener else 40000
        lines = ["v=0", f"o={CAMERA_ID} 0 0 IN IP4 127.0.0.1", f"s={offer['s']}", "c=IN IP4 127.0.0.1", "t=0 0"]
        lines += [f"m=video {media_port} {offer['m'].split()[2]} 96", "a=sendonly", "a=rtpmap:96 PS/90000"]
        if call.tcp:
            lines.append(f"a=setup:{'passive' if call.listener else 'active'}")
        lines.append(f"y={offer['y']}")
        sdp = "".join(f"{line}\r\n" for line in lines)
        contact = f"Contact: <sip:{CAMERA_ID}@127.0.0.1:{self.port}>\r\nContent-Type: application/sdp"
        send(_response(headers, "200 OK", contact, tag=tag, body=sdp))

    def _on_ack(self, headers: dict[str, str]) -> None:
        for call in self._calls_of(headers):
            if "started" not in call.offer:
                call.offer["started"] = "yes"
                self._start(self._play, call)

    def _calls_of(self, headers: dict[str, str]) -> list[Call]:
        return [call for call in self.calls if call.request["call-id"] == headers["call-id"]]

    def _request(self, call: Call, method: str, body: str = "") -> None:
        """Sends a request of the platform's own within the call."""
        target = re.search(r"<([^>]*)>", call.request.get("contact", call.request["from"]))
        assert target is not None
        lines = [
            f"{method} {target[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{random.getrandbits(64):016x}",
            f"From: {call.request['to']};tag={call.tag}",
            f"To: {call.request['from']}",
            f"Call-ID: {call.request['call-id']}",
            f"CSeq: {next(self._numbers)} {method}",
            "Max-Forwards: 70",
            *(["Content-Type: Application/MANSCDP+xml"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        call.send("\r\n".join(lines) + "\r\n\r\n" + body)

    # ---- media

    def _play(self, call: Call) -> None:
        if self.faults.no_media:
            return
        way = call.way = Way(call.address, tcp=call.tcp, listener=call.listener, interleaved=self.faults.interleaved)
        try:
            self._send_pictures(call, way)
        except OSError:  # who receives has gone
            return
        finally:
            way.close()

    def _send_pictures(self, call: Call, way: Way) -> None:
        ssrc = int(call.offer["y"]) ^ (0x55AA if self.faults.other_ssrc else 0)
        bye_after = self.faults.bye_after if call is self.calls[0] else 0
        sequence = self._random.randrange(1 << 16)
        held: bytes | None = None
        began = time.monotonic()
        for number, unit in enumerate(self._units(call)):
            due_s = unit.dts / CLOCK_HZ / self._speed if self._speed else 0.0
            if call.stopped.wait(max(0.0, began + due_s - time.monotonic())):
                return
            if bye_after and number >= bye_after:
                self._request(call, "BYE")
                return
            payload = pack(unit, self._clip.codec, with_map=not self.faults.no_map, audio=b"\xd5" * 320)
            for packet in rtp_packets(payload, sequence=sequence, timestamp=unit.pts, ssrc=ssrc):
                sequence = (sequence + 1) & 0xFFFF
                if self._random.random() < self.faults.lose:
                    continue
                if held is None and self._random.random() < self.faults.swap:
                    held = packet
                    continue
                way.send(packet)
                if held is not None:
                    way.send(held)
                    held = None
            if not call.tcp and not self._speed:
                time.sleep(_UDP_PAUSE_S)
        if held is not None:
            way.send(held)
        way.finish()
        if self.faults.no_notice:
            self._request(call, "BYE")
            return
        note = '<?xml version="1.0"?>\r\n<Notify><CmdType>MediaStatus</CmdType><SN>1</SN>'
        note += f"<DeviceID>{CAMERA_ID}</DeviceID><NotifyType>121</NotifyType></Notify>\r\n"
        self._request(call, "MESSAGE", note)

    def _units(self, call: Call) -> Iterator[AccessUnit]:
        """Live: the clip again and again. Playback: from the key frame at the time that was asked for to its end."""
        if call.playback:
            begin, end = ((int(time) - RECORDED_FROM) * CLOCK_HZ for time in call.offer["t"].split())
            keys = [at for at, unit in enumerate(self._clip.units) if unit.is_key and unit.pts <= begin]
            first = self._clip.units[keys[-1]]
            for unit in self._clip.units[keys[-1] :]:
                if unit.pts < end:
                    yield AccessUnit(unit.data, unit.pts - first.pts, unit.dts - first.dts, unit.is_key)
            return
        offset = 0
        while True:
            for unit in self._clip.units:
                yield AccessUnit(unit.data, unit.pts + offset, unit.dts + offset, unit.is_key)
            offset += self._clip.length


def _response(request: dict[str, str], status: str, *more: str, tag: str = "", body: str = "") -> str:
    to = request["to"] + (f";tag={tag}" if tag else "")
    lines = [f"SIP/2.0 {status}", f"Via: {request['via']}", f"From: {request['from']}", f"To: {to}"]
    lines += [f"Call-ID: {request['call-id']}", f"CSeq: {request['cseq']}", *more, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _china(unix_s: int) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(unix_s + 8 * 3600))


def _parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A GB28181 platform with one camera, on loopback.")
    parser.add_argument("--port", type=int, default=5060, help="of SIP, UDP and TCP")
    parser.add_argument("--clip", type=Path, required=True, help="an MP4 with H.264 or H.265")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time; 0: as fast as it is taken")
    parser.add_argument("--swap", type=float, default=0.0, help="share of UDP packets that are swapped")
    parser.add_argument("--lose", type=float, default=0.0, help="share of packets that are lost")
    parser.add_argument("--refuse", type=int, default=0, help="status that answers every INVITE")
    parser.add_argument("--bye_after", type=int, default=0, help="pictures until BYE, in the first call")
    for name in ("refuse_tcp", "silent", "no_map", "no_media", "other_ssrc", "no_notice", "interleaved"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Runs until Ctrl-C."""
    arguments = vars(_parsed_arguments())
    clip = read_clip(arguments.pop("clip"))
    port, speed = arguments.pop("port"), arguments.pop("speed")
    with Device(clip, port=port, speed=speed, faults=Faults(**arguments)) as device:
        print(device.address(), flush=True)
        print(device.address(playback_s=max(1, clip.length // CLOCK_HZ)), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
