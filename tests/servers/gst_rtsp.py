"""The process of ``rtsp.RtspServer``: GStreamer's RTSP server, run by the system's Python, which has its bindings.

Reads one JSON object with what to serve from standard input, then commands, one JSON object a line, and answers each
with a line. Ends with its parent. The pictures are fed from one thread, as a camera's are: who comes late gets what is
sent from then on.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402,F401

_PR_SET_PDEATHSIG = 1
_ROLE = "viewer"
_DELIMITERS = {"h264": b"\x00\x00\x00\x01\x09", "h265": b"\x00\x00\x00\x01\x46\x01"}
_QUEUE_BYTES = 4_000_000
_SENT_KEPT = 2_000
_ELEMENTS = ("appsrc", "appsink", "h264parse", "h265parse", "rtph264pay", "rtph265pay", "rtph264depay", "rtph265depay")


class Feeder(threading.Thread):
    """Gives the clip's pictures, round and round and at their pace, to all that watch."""

    def __init__(self, clip: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._lock = threading.Lock()
        self._watchers: list[Any] = []
        self.sent: deque[tuple[int, float]] = deque(maxlen=_SENT_KEPT)
        self.mode = "play"
        self.hold = -1
        self.play(clip)

    def play(self, clip: dict[str, Any]) -> None:
        """Goes over to another clip at its first picture."""
        delimiter = _DELIMITERS[clip["codec"]]
        units = [delimiter + unit for unit in Path(clip["elementary"]).read_bytes().split(delimiter) if unit]
        with self._lock:
            self._units, self._fps, self._next = units, clip["fps"], 0

    def pace(self, fps: float) -> None:
        """Shows so many pictures a second from now on."""
        with self._lock:
            self._fps = fps

    def add(self, source: Any) -> None:
        """One more that watches."""
        with self._lock:
            self._watchers.append(source)

    def run(self) -> None:
        due = time.monotonic()
        while True:
            with self._lock:
                watchers = list(self._watchers)
                held = self.mode == "once" and 0 <= self.hold < self._next
                if not held:
                    self.sent.append((0 if self.mode == "still" else self._next, time.time()))
                unit = b"" if held else self._unit()
                due += 1 / self._fps
            gone = [source for source in watchers if unit and not self._push(source, unit)]
            with self._lock:
                self._watchers = [source for source in self._watchers if source not in gone]
            now = time.monotonic()
            due = max(due, now - 0.5)  # after a freeze it goes on where it was; it does not catch up
            time.sleep(max(0.0, due - now))

    def _unit(self) -> bytes:
        unit: bytes = self._units[0 if self.mode == "still" else self._next]
        if self.mode != "still":
            self._next = (self._next + 1) % len(self._units)
        if self.mode == "once" and self._next == 0:
            self.mode = "still"
        if self.mode == "silent":
            return b""
        if self.mode == "garbage":
            head = len(unit) // 4
            return unit[:head] + os.urandom(len(unit) - head).replace(b"\0", b"\1")
        return unit

    @staticmethod
    def _push(source: Any, unit: bytes) -> bool:
        if source.get_property("current-level-bytes") > _QUEUE_BYTES:
            return True  # who does not read on loses pictures, the others do not
        return bool(source.emit("push-buffer", Gst.Buffer.new_wrapped(unit)) == Gst.FlowReturn.OK)


class Recorder:
    """Takes what is pushed, as a plain H.264 or H.265 stream in a file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self.frames = 0

    def take(self, sink: Any) -> Any:
        """One access unit has come."""
        sample = sink.emit("pull-sample")
        buffer = sample.get_buffer()
        with self._path.open("ab") as file:
            file.write(buffer.extract_dup(0, buffer.get_size()))
        self.frames += 1
        return Gst.FlowReturn.OK


class Server:
    """The server and what it is told by its parent."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._clip = order.get("clip") or {"codec": order["codec"]}
        self._connects: list[float] = []
        self._clients: list[Any] = []
        self._recorder = Recorder(order["recording"]) if order["recording"] else None
        self._feeder = None if self._recorder else Feeder(self._clip)
        self._server = GstRtspServer.RTSPServer()
        self._server.set_address("127.0.0.1")
        self._server.set_service(str(order["port"]))
        self._server.get_thread_pool().set_max_threads(-1)  # else a viewer waits until another's stream has begun
        self._server.connect("client-connected", self._connected)
        if order["user"] or order["certificate"]:
            self._server.set_auth(authorisation(order))
        self._mount()
        if not self._server.attach(None):
            raise SystemExit(f"port {order['port']} of 127.0.0.1 cannot be taken")
        if self._feeder:
            self._feeder.start()

    def _mount(self) -> None:
        codec = self._clip["codec"]
        factory = GstRtspServer.RTSPMediaFactory()
        caps = f"video/x-{codec},stream-format=byte-stream,alignment=au"
        if self._recorder:
            factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
            factory.set_eos_shutdown(True)  # else who hangs up behind the last picture may take it along
            factory.set_launch(
                f"( rtp{codec}depay name=depay0 ! {caps} ! {codec}parse config-interval=-1 ! {caps} ! "
                "appsink name=sink sync=false emit-signals=true )"
            )
        else:
            factory.set_launch(
                f"( appsrc name=src is-live=true do-timestamp=true format=time caps={caps} ! "
                f"{codec}parse config-interval=-1 ! rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
            )
        transports = {"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}
        wanted = [transports[word] for word in self._order["transports"]]
        factory.set_protocols(wanted[0] if len(wanted) == 1 else wanted[0] | wanted[1])
        factory.set_address_pool(loopback_ports())
        factory.set_permissions(permissions())
        factory.connect("media-configure", self._configure)
        self._server.get_mount_points().add_factory(self._order["path"], factory)

    def _configure(self, _: Any, media: Any) -> None:
        element = media.get_element()
        if self._recorder:
            element.get_by_name("sink").connect("new-sample", self._recorder.take)
        elif self._feeder:
            self._feeder.add(element.get_by_name("src"))

    def _connected(self, _: Any, client: Any) -> None:
        self._connects.append(time.monotonic())
        self._clients.append(client)
        client.connect("closed", self._clients.remove)

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does what the parent asks; in the main loop."""
        if self._feeder and "mode" in command:
            self._feeder.mode = command["mode"]
        if self._feeder and "hold" in command:
            self._feeder.hold = command["hold"]
        if self._feeder and "fps" in command:
            self._feeder.pace(command["fps"])
        if self._feeder and "clip" in command:
            other_codec = command["clip"]["codec"] != self._clip["codec"]
            self._clip = command["clip"]
            if other_codec:
                self._mount()
            self._feeder.play(self._clip)
            if other_codec or command["hang_up"]:
                self._hang_up()
        elif command.get("hang_up"):
            self._hang_up()
        frames = self._recorder.frames if self._recorder else 0
        sent = list(self._feeder.sent) if self._feeder and command.get("sent") else []
        return {"connects": self._connects, "clients": len(self._clients), "received": frames, "sent": sent}

    def _hang_up(self) -> None:
        for client in list(self._clients):
            client.close()


def authorisation(order: dict[str, Any]) -> Any:
    """Who may watch or push, and the server's certificate."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, _ROLE)
    if order["certificate"]:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(order["certificate"]))
    if not order["user"]:
        auth.set_default_token(token)
    elif order["auth"] == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(order["user"], order["password"], token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(order["user"], order["password"]), token)
    return auth


def permissions() -> Any:
    """All for the one role there is."""
    result = GstRtspServer.RTSPPermissions()
    result.add_role(_ROLE)
    for what in (GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT):
        result.add_permission_for_role(_ROLE, what, True)
    return result


def loopback_ports() -> Any:
    """Media over UDP leaves from loopback, too."""
    pool = GstRtspServer.RTSPAddressPool()
    pool.add_range("127.0.0.1", "127.0.0.1", 10_000, 19_999, 0)
    return pool


def missing(*, tls: bool) -> str:
    """What this machine has not got; empty if all is there."""
    absent = [name for name in _ELEMENTS if Gst.ElementFactory.find(name) is None]
    if absent:
        return f"GStreamer has no {', '.join(absent)}"
    return "GLib has no TLS" if tls and not Gio.TlsBackend.get_default().supports_tls() else ""


def main() -> None:
    """Serves until the parent closes standard input or dies."""
    Gst.init(None)
    if sys.argv[1:]:
        sys.exit(missing(tls=sys.argv[1] == "--check-tls") or 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    server = Server(json.loads(sys.stdin.readline()))
    loop = GLib.MainLoop()

    def commanded(*_: Any) -> bool:
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        print(json.dumps(server.answer(json.loads(line))), flush=True)
        return True

    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, commanded)
    print("{}", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
