"""HTTP cameras: FLV, MPEG-TS and MJPEG of one clip over HTTP, made by FFmpeg, served by the standard library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

from tests.servers.clips import Clip
from tests.servers.packages import needs
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, port_is_open
from tests.servers.publisher import play

_SCRIPT = Path(__file__).with_name("http_media.py")
_COPY = ["-c", "copy", "-f"]
_FORMATS = {
    "flv": ("video/x-flv", [*_COPY, "flv"]),
    "ts": ("video/mp2t", [*_COPY, "mpegts"]),
    "mjpeg": ("multipart/x-mixed-replace;boundary=ffmpeg", ["-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg"]),
}


class HttpMediaServer(ServerProcess):
    """Plays a clip round and round to each who asks, from its beginning.

    Args:
        clip: what it plays; FLV takes H.264 only.
        user: who may watch; empty for everybody.
        password: of ``user``; any characters.
        auth: ``basic`` or ``digest``.
    """

    def __init__(self, clip: Clip, *, user: str = "", password: str = "", auth: str = "basic") -> None:
        needs("ffmpeg")
        super().__init__()
        self.clip, self.user, self.password, self.auth = clip, user, password, auth
        self.port = free_port()

    def url(self, kind: str, *, raw: bool = False) -> str:
        """The address of the stream.

        Args:
            kind: ``flv``, ``ts`` or ``mjpeg``.
            raw: user and password as people write them, not percent-encoded.
        """
        words = [self.user, self.password] if raw else [quote(word, safe="") for word in (self.user, self.password)]
        login = ":".join(words) + "@" if self.user else ""
        return f"http://{login}127.0.0.1:{self.port}/cam.{kind}"

    def command(self) -> list[str]:
        """The process that serves."""
        return [sys.executable, "-I", str(_SCRIPT)]

    def told(self) -> bytes:
        """What it serves, and to whom."""
        streams = {f"/cam.{kind}": (mime, [*play(self.clip), *how, "pipe:1"]) for kind, (mime, how) in _FORMATS.items()}
        login = {"user": self.user, "password": self.password, "auth": self.auth}
        return json.dumps({"port": self.port, "streams": streams, **login}).encode() + b"\n"

    def is_up(self) -> bool:
        """True when its port is open."""
        return port_is_open(self.port)
