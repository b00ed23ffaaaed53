"""FFmpeg as a camera that sends: to a media server, or over UDP to whoever listens."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

from tests.servers.clips import Clip
from tests.servers.packages import needs
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

_GROUPS = itertools.count(os.getpid() % 50_000 * 256)


class Publisher(ServerProcess):
    """Sends a clip round and round, at its pace and without encoding it again.

    Args:
        clip: what to send.
        target: FFmpeg's address of who gets it; no secrets, other processes can see it.
        muxer: FFmpeg's name of the container.
        options: more of FFmpeg's options for the output.
    """

    def __init__(self, clip: Clip, target: str, muxer: str, options: tuple[str, ...] = ()) -> None:
        needs("ffmpeg")
        super().__init__()
        self.clip, self.target, self.muxer, self.options = clip, target, muxer, options

    def command(self) -> list[str]:
        """FFmpeg's command line."""
        return [*play(self.clip), "-c", "copy", *self.options, "-f", self.muxer, self.target]


class UdpSender(Publisher):
    """MPEG-TS over UDP to loopback: to one port, or to a multicast group that only loopback has.

    Attributes:
        url: where to listen.
    """

    def __init__(self, clip: Clip, *, multicast: bool = False) -> None:
        port = free_port(socket.SOCK_DGRAM)
        group = next(_GROUPS)
        host = f"239.255.{group >> 8 & 255}.{group & 255}" if multicast else "127.0.0.1"
        options = "&localaddr=127.0.0.1&ttl=0" if multicast else ""
        super().__init__(clip, f"udp://{host}:{port}?pkt_size=1316{options}", "mpegts")
        self.url = f"udp://@{host}:{port}?localaddr=127.0.0.1" if multicast else f"udp://127.0.0.1:{port}"


def play(clip: Clip) -> list[str]:
    """The first half of FFmpeg's command line: reads a clip round and round at its pace."""
    return ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip.path), "-an"]


def camera_without_hardware() -> Path | None:
    """A device of the kernel's v4l2loopback, or ``None`` where the kernel has not got it."""
    for device in sorted(Path("/sys/devices/virtual/video4linux").glob("video*")):
        if os.access(Path("/dev") / device.name, os.W_OK):
            return Path("/dev") / device.name
    return None


def play_into(clip: Clip, device: Path) -> ServerProcess:
    """A camera of the kernel's v4l2loopback that shows ``clip`` round and round."""
    return Publisher(clip, str(device), "v4l2", ("-c:v", "rawvideo", "-pix_fmt", "yuyv422"))
