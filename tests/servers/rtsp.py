"""A real RTSP server as a camera would be one: GStreamer's gst-rtsp-server, in a process of its own on loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tests.servers.clips import Clip
from tests.servers.packages import GST_SCRIPT, SYSTEM_PYTHON, needs
from tests.servers.ports import free_port

_PATIENCE_S = 60.0


class RtspServer:
    """Plays a clip round and round, or takes what is pushed; use it with ``with``.

    It dies with the thread that started it (or with its process), so start it in one that lives as long.

    Args:
        clip: what it plays; ``None`` to take what is pushed (RECORD), then see ``received`` and ``recording``.
        codec: what is pushed.
        transports: of ``tcp`` and ``udp``; any other is refused with 461.
        user: who may watch or push; empty for everybody.
        password: of ``user``; any characters.
        auth: ``basic`` or ``digest``.
        tls: RTSPS with a certificate that nobody has signed.
        path: of the stream.
        port: of loopback; one that is free unless given.
    """

    def __init__(
        self,
        clip: Clip | None = None,
        *,
        codec: str = "h264",
        transports: tuple[str, ...] = ("tcp", "udp"),
        user: str = "",
        password: str = "",
        auth: str = "digest",
        tls: bool = False,
        path: str = "/cam",
        port: int = 0,
    ) -> None:
        needs("rtsp", *(["rtsps"] if tls else []))
        self.clip, self.codec, self.transports = clip, codec, transports
        self.user, self.password, self.auth = user, password, auth
        self.tls, self.path, self.port = tls, path, port or free_port()
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-")
        self._certificate = make_certificate(Path(self._folder.name)) if tls else None

    @property
    def url(self) -> str:
        """The address, with user and password percent-encoded."""
        return self.url_with(self.user, self.password)

    def url_with(self, user: str = "", password: str = "", *, raw: bool = False) -> str:
        """The address with another user and password; ``raw`` to leave them as people write them."""
        if not raw:
            user, password = quote(user, safe=""), quote(password, safe="")
        login = f"{user}:{password}@" if user else ""
        return f"{'rtsps' if self.tls else 'rtsp'}://{login}127.0.0.1:{self.port}{self.path}"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def recording(self) -> Path:
        """What was pushed, as a plain H.264 or H.265 stream."""
        return Path(self._folder.name) / f"pushed.{self.codec}"

    @property
    def received(self) -> int:
        """Frames that were pushed since it was started."""
        return int(self._ask({})["received"])

    @property
    def clients(self) -> int:
        """Connections that stand."""
        return int(self._ask({})["clients"])

    @property
    def sent(self) -> list[tuple[int, float]]:
        """The last 2,000 pictures: each one's place in the clip, and when it was sent, seconds since the epoch."""
        return [(int(place), float(moment)) for place, moment in self._ask({"sent": True})["sent"]]

    @property
    def connects(self) -> list[float]:
        """When each connection since the start was made, by the monotonic clock."""
        return [float(moment) for moment in self._ask({})["connects"]]

    def start(self) -> None:
        """Starts it and waits until its port is open."""
        assert self._process is None, "it runs already"
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, "-I", str(GST_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self._ask(self._order())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills it, as a power cut does; also when it is frozen, and more than once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def restart(self) -> None:
        """It comes back at the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It stops in mid-stream and answers nothing, connections stand: a cable that was pulled."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on after ``freeze``."""
        self._signal(signal.SIGCONT)

    def switch(self, clip: Clip, *, hang_up: bool = False) -> None:
        """Plays another clip from now on.

        With the same codec the stream goes on with new parameter sets, whatever the size. Another codec means another
        session description: all clients are disconnected, as cameras do it.

        Args:
            clip: what to play.
            hang_up: disconnect the clients in any case.
        """
        self.clip = clip
        self._ask({"clip": _as_json(clip), "hang_up": hang_up})

    def hang_up(self) -> None:
        """Disconnects all clients in mid-stream, and goes on listening."""
        self._ask({"hang_up": True})

    def mode(self, word: str) -> None:
        """What the stream shows from now on, while connections stand.

        Args:
            word: ``play``, ``once`` (from where it is to the end, then ``still``), ``still`` (the first picture),
                ``silent`` (no picture) or ``garbage`` (the larger part of each picture is noise).
        """
        assert word in ("play", "once", "still", "silent", "garbage")
        self._ask({"mode": word})

    def hold(self, place: int) -> None:
        """In mode ``once``, no picture after that with the number ``place`` is sent, until it is told a higher one.

        Args:
            place: in the clip, from 0; -1 to hold nothing back, as at first.
        """
        self._ask({"hold": place})

    def pace(self, fps: float) -> None:
        """It shows so many pictures a second from now on, until ``switch``; what it says of its rate stays."""
        self._ask({"fps": fps})

    def _order(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "path": self.path,
            "clip": _as_json(self.clip) if self.clip else None,
            "codec": self.codec,
            "recording": "" if self.clip else str(self.recording),
            "transports": self.transports,
            "user": self.user,
            "password": self.password,
            "auth": self.auth,
            "certificate": str(self._certificate or ""),
        }

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None, "it does not run"
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], _PATIENCE_S)[0], "the RTSP server does not answer"
        line = process.stdout.readline()
        assert line, f"the RTSP server has ended ({process.wait(_PATIENCE_S)})"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that it has signed itself, in one PEM file."""
    needs("openssl")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    both.write_text(certificate.read_text() + key.read_text())
    return both


def _as_json(clip: Clip) -> dict[str, Any]:
    return {**dataclasses.asdict(clip), "path": str(clip.path), "elementary": str(clip.elementary)}
