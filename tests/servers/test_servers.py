"""What the tests rely on: a test that dies leaves no server behind, and what is pushed is what is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from tests.servers.clips import make_clip
from tests.servers.packages import needs
from tests.servers.process import wait_until
from tests.servers.rtsp import RtspServer

SMALL = {"size_wh": (160, 120), "gop": 12}

DYING = """
import os, signal, sys, urllib.request
from tests.servers.clips import make_clip
from tests.servers.http import HttpMediaServer
from tests.servers.nginx import NginxServer
from tests.servers.publisher import UdpSender
from tests.servers.rtsp import RtspServer
clip = make_clip(size_wh=(160, 120), gop=12, seconds=1.0)
one = {"rtsp": lambda: RtspServer(clip), "nginx": NginxServer, "http": lambda: HttpMediaServer(clip),
       "udp": lambda: UdpSender(clip)}[sys.argv[1]]()
one.start()
if sys.argv[1] == "nginx":
    one.publish("cam", clip)
if sys.argv[1] == "http":
    reply = urllib.request.urlopen(one.url("ts"))
    reply.read(188)
one.freeze()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("kind", "part"), [("rtsp", "rtsp"), ("nginx", "nginx"), ("http", "ffmpeg"), ("udp", "ffmpeg")]
)
def test_a_test_that_is_killed_leaves_no_server_behind_even_a_frozen_one(
    kind: str, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs(part, "ffmpeg")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    dying = subprocess.run([sys.executable, "-c", DYING, kind], cwd=PROJECT_DIR, timeout=120, capture_output=True)
    assert dying.returncode == -9, dying.stderr.decode()
    wait_until(lambda: not processes_with(f"TMPDIR={tmp_path}"), lambda: str(processes_with(f"TMPDIR={tmp_path}")))


def processes_with(variable: str) -> list[str]:
    """The command lines of those that have it in their environment and have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_what_is_pushed_is_counted_and_kept(codec: str) -> None:
    clip = make_clip(codec=codec, seconds=1.0, **SMALL)
    with RtspServer(codec=codec, user="pusher", password="secret") as server:
        push = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-i", str(clip.path), "-c", "copy", "-f", "rtsp"]
        subprocess.run([*push, "-rtsp_transport", "tcp", server.url], check=True, timeout=60)
        wait_until(lambda: server.received == clip.frames, lambda: f"{clip.frames} frames, but {server.received}")
        assert server.recording.stat().st_size > 0
