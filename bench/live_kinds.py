"""The kinds of sources that ``live_sources`` measures, each with the server that it comes from."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.clips import Clip
from tests.servers.http import HttpMediaServer
from tests.servers.nginx import NginxServer
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, port_is_open, wait_until
from tests.servers.publisher import UdpSender, camera_without_hardware, play_into
from tests.servers.rtsp import RtspServer


@dataclass(slots=True)
class Kind:
    """One source and what was measured of it; the last six are the columns of the table.

    Attributes:
        name: as in the table.
        address: of the stream.
        extend: more of the task's ``Extend``.
        camera: what can be killed and started again; ``None`` where nothing is connected to.
    """

    name: str
    address: str
    extend: dict[str, Any] = field(default_factory=dict)
    camera: RtspServer | ServerProcess | None = None
    opened: str = ""
    rates: str = ""
    back: str = "—"
    cpu_ms: str = ""
    busy: str = ""
    stream: str = ""

    def row(self) -> str:
        """One line of the table."""
        cells = (self.name, self.opened, self.rates, self.back, self.cpu_ms, self.busy, self.stream)
        return f"| {' | '.join(cells)} |"


Maker = Callable[[ExitStack, Clip], Kind]


def _rtsp(name: str, transport: str, *, tls: bool = False) -> Maker:
    def make(stack: ExitStack, clip: Clip) -> Kind:
        login = {"user": "viewer", "password": "p@ss/word"} if tls else {}
        camera = stack.enter_context(RtspServer(clip, tls=tls, **login))  # type: ignore[arg-type]
        return Kind(name, camera.url, {"Transport": transport}, camera)

    return make


def _rtmp(stack: ExitStack, clip: Clip) -> Kind:
    camera = stack.enter_context(NginxServer())
    camera.publish("cam", clip)
    return Kind("RTMP (nginx)", camera.rtmp_url("cam"), {}, camera)


def _hls(stack: ExitStack, clip: Clip) -> Kind:
    camera = stack.enter_context(NginxServer())
    camera.publish("cam", clip)
    wait_until(lambda: camera.segments("cam") >= 3, lambda: "three segments, from where players start")
    return Kind("HLS, segments of 1 s (nginx)", camera.hls_url("cam"), {}, camera)


def _http(name: str, kind: str) -> Maker:
    def make(stack: ExitStack, clip: Clip) -> Kind:
        camera = stack.enter_context(HttpMediaServer(clip))
        return Kind(name, camera.url(kind), {}, camera)

    return make


def _udp(name: str, *, multicast: bool) -> Maker:
    def make(stack: ExitStack, clip: Clip) -> Kind:
        camera = stack.enter_context(UdpSender(clip, multicast=multicast))
        return Kind(name, camera.url, {}, camera)

    return make


class Gb28181Device(ServerProcess):
    """The simulated platform with one camera."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self._clip = clip
        self._port = free_port()

    @property
    def url(self) -> str:
        """The camera's address."""
        from tests.media.gb28181.device import CAMERA_ID, PASSWORD, PLATFORM_ID

        return f"gb28181://{PLATFORM_ID}:{PASSWORD}@127.0.0.1:{self._port}?deviceid={CAMERA_ID}#devicetype=3"

    def command(self) -> list[str]:
        """The simulator as a program."""
        module = "tests.media.gb28181.device"
        return [sys.executable, "-m", module, "--port", str(self._port), "--clip", str(self._clip.path)]

    def is_up(self) -> bool:
        """True when its port is open."""
        return port_is_open(self._port)


def _gb28181(name: str, transport: str) -> Maker:
    def make(stack: ExitStack, clip: Clip) -> Kind:
        camera = stack.enter_context(Gb28181Device(clip))
        return Kind(name, camera.url, {"Transport": transport}, camera)

    return make


def _file(stack: ExitStack, clip: Clip) -> Kind:
    return Kind("file (MP4)", str(clip.path), {"Loop": 0})


def _folder(stack: ExitStack, clip: Clip) -> Kind:
    folder = stack.enter_context(_pictures(clip))
    return Kind("folder of JPEGs", str(folder), {"Loop": 0})


def _base64(stack: ExitStack, clip: Clip) -> Kind:
    folder = stack.enter_context(_pictures(clip))
    port = free_port()
    stack.enter_context(_posting([path.read_bytes() for path in sorted(folder.iterdir())], port, clip.fps))
    return Kind("pictures by POST (BASE64)", f"base64://127.0.0.1:{port}/cam")


@contextmanager
def _pictures(clip: Clip) -> Iterator[Path]:
    """A folder with two seconds of the clip as JPEGs."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(clip.path), "-frames:v", str(2 * clip.fps)]
        subprocess.run([*command, "-q:v", "3", f"{name}/%04d.jpg"], check=True, timeout=60)
        yield Path(name)


@contextmanager
def _posting(jpegs: list[bytes], port: int, fps: int) -> Iterator[None]:
    """Posts pictures at their pace, from when the engine listens."""
    stopping = threading.Event()

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        start = time.monotonic()
        number = 0
        while not stopping.wait(max(0.0, start + number / fps - time.monotonic())):
            try:
                connection.request("POST", "/cam", jpegs[number % len(jpegs)], {"Content-Type": "image/jpeg"})
                connection.getresponse().read()
                number += 1
            except (OSError, http.client.HTTPException):
                connection.close()
                start, number = time.monotonic() + 0.1, 0

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _v4l2(stack: ExitStack, clip: Clip) -> Kind:
    device = camera_without_hardware()
    assert device is not None
    stack.enter_context(play_into(clip, device))
    return Kind("V4L2 (v4l2loopback)", str(device))


KINDS: dict[str, Maker] = {
    "RTSP TCP": _rtsp("RTSP over TCP", "tcp"),
    "RTSP UDP": _rtsp("RTSP over UDP", "udp"),
    "RTMP": _rtmp,
    "MPEG-TS UDP": _udp("MPEG-TS over UDP", multicast=False),
    "file": _file,
    "RTSPS": _rtsp("RTSPS with a password", "auto", tls=True),
    "HLS": _hls,
    "HTTP-FLV": _http("HTTP-FLV", "flv"),
    "MPEG-TS multicast": _udp("MPEG-TS over UDP multicast", multicast=True),
    "folder": _folder,
    "MJPEG": _http("MJPEG over HTTP", "mjpeg"),
    "MPEG-TS HTTP": _http("MPEG-TS over HTTP", "ts"),
    "GB28181 UDP": _gb28181("GB28181 over UDP (simulator)", "udp"),
    "GB28181 TCP": _gb28181("GB28181 over TCP (simulator)", "tcp"),
    "BASE64": _base64,
}
"""Those that a few at a time are measured side by side, in this order."""

NOT_EVERYWHERE = {"SRT": "srt://127.0.0.1:9000"}
"""Those that this machine may lack: an address that shows what the program says of it."""

if camera_without_hardware() is None:
    NOT_EVERYWHERE["V4L2"] = "/dev/video0"
else:
    KINDS["V4L2"] = _v4l2
