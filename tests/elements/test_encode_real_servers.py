"""What ``encode`` of a running graph sends arrives: at an RTSP server, at an RTMP server and whoever watches there."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.sync.client import connect

from streamserver.vision.codec import decode_jpeg
from tests.e2e.harness import wait_for
from tests.servers.clips import Clip, frame_number, make_clip
from tests.servers.nginx import NginxServer
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspServer
from tests.worker.tasks import DECODE, environment, write_task

PASSWORD = "p@ss:w/ö?#%!"
H264 = {"enc_fmt": "h264_bm", "pix_fmt": "I420"}
PATIENCE_S = 60.0
FPS = 5
"""The clip takes 50 seconds: no two pictures that arrive one behind the other lie a whole round apart."""


def the_clip() -> Clip:
    """What is shown; as long as its pictures' numbers reach."""
    return make_clip(seconds=10)


class Engine:
    """A worker that plays a clip round and round into outputs."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._process = process

    @property
    def said(self) -> str:
        """Its log so far."""
        return (self._folder / "engine.out").read_text()

    def says(self, words: str, *, times: int = 1) -> None:
        """Waits until its log holds ``words`` so often."""
        wait_for(lambda: self.said.count(words) >= times, words, lambda: self.said, PATIENCE_S)

    def end(self) -> None:
        """Asks it to stop; it ends as it should."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        assert "ends: stopped" in self.said


@contextmanager
def engine(folder: Path, *outputs: dict[str, Any]) -> Iterator[Engine]:
    """A running graph with an ``encode`` for each of ``outputs``, one behind the other."""
    folder.mkdir(exist_ok=True)
    write_task(folder, the_clip().path, [DECODE, *(("encode", output) for output in outputs)], fps=FPS, loop_num=0)
    command = [sys.executable, "-m", "streamserver.worker", "--demo_config_path=demo.json"]
    with (folder / "engine.out").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
        try:
            yield Engine(folder, process)
        finally:
            process.kill()
            process.wait()


def pictures_of(address: str, count: int) -> tuple[str, list[np.ndarray]]:  # type: ignore[type-arg]
    """Codec and the next pictures of what a server plays, or of a file."""
    with av.open(address, options={"analyzeduration": "500000"}, timeout=PATIENCE_S) as container:
        decoded = container.decode(video=0)
        pictures = [frame.to_ndarray(format="bgr24") for frame, _ in zip(decoded, range(count), strict=False)]
        return container.streams.video[0].codec_context.name, pictures


def assert_shows_the_clip(pictures: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    """Whole pictures of the clip, in order and none of them twice; a busy machine may leave some out."""
    assert {picture.shape for picture in pictures} == {(240, 320, 3)}
    numbers = np.array([frame_number(picture) for picture in pictures])
    steps = np.diff(numbers) % the_clip().frames
    assert steps.min() >= 1 and steps.sum() < the_clip().frames, numbers


@pytest.mark.parametrize(
    ("codec", "auth", "login"), [("h264", "digest", f"cam:{PASSWORD}"), ("h265", "basic", "c%40m:easy-going")]
)
def test_an_rtsp_server_with_a_password_gets_the_stream_and_again_after_it_was_away(
    tmp_path: Path, codec: str, auth: str, login: str
) -> None:
    user, _, password = login.replace("%40", "@").partition(":")
    with RtspServer(codec=codec, user=user, password=password, auth=auth, path="/live/gate0_0") as server:
        output = {"encode_type": "RTSP", "rtsp_port": str(server.port), "ip": f"{login}@127.0.0.1", "prefix": "gate"}
        with engine(tmp_path, {**output, "enc_fmt": f"{codec}_bm", "pix_fmt": "NV12"}) as running:
            wait_for(lambda: server.received >= 15, "frames arrive", lambda: running.said, PATIENCE_S)
            before = server.recording.stat().st_size
            server.stop()
            running.says("frames are left out until the server takes them")
            server.start()
            wait_for(lambda: server.received >= 15, "frames arrive again", lambda: running.said, PATIENCE_S)
            running.end()
            assert password not in running.said and "the connection broke off" in running.said
        for part in (server.recording.read_bytes()[:before], server.recording.read_bytes()[before:]):
            (tmp_path / "part").write_bytes(part)
            name, pictures = pictures_of(str(tmp_path / "part"), 10)
            assert name == {"h264": "h264", "h265": "hevc"}[codec]
            assert_shows_the_clip(pictures)


def test_a_wrong_password_is_told_and_shown_nowhere(tmp_path: Path) -> None:
    with RtspServer(user="cam", password="right", path="/live/0_0") as server:
        output = {"encode_type": "RTSP", "rtsp_port": str(server.port), "ip": f"cam:{PASSWORD}@127.0.0.1", **H264}
        with engine(tmp_path, output) as running:
            running.says("the user name or the password was refused (401); frames are left out")
            running.end()
            assert PASSWORD not in running.said


def test_a_server_that_takes_no_streams_is_told(tmp_path: Path) -> None:
    output = {"encode_type": "RTSP", "ip": "127.0.0.1", **H264}
    with (
        RtspServer(make_clip(), path="/live/0_0") as server,
        engine(tmp_path, {**output, "rtsp_port": server.port}) as running,
    ):
        running.says("the server refused it; it may be one that only plays streams; frames are left out")
        running.end()


def test_an_rtmp_server_shows_what_it_got_also_after_it_was_away(tmp_path: Path) -> None:
    with NginxServer() as server:
        output = {"encode_type": "RTMP", "rtmp_port": str(server.rtmp_port), "ip": "127.0.0.1", **H264}
        with engine(tmp_path, output) as running:
            for times in (1, 2):
                running.says("takes frames of 320x240", times=times)
                name, pictures = pictures_of(server.rtmp_url("0_0"), 15)
                assert name == "h264"
                assert_shows_the_clip(pictures)
                if times == 1:
                    server.stop()
                    running.says("frames are left out until the server takes them")
                    server.start()
            running.end()


def test_one_graph_writes_a_file_and_shows_a_web_socket_while_its_media_server_is_away(tmp_path: Path) -> None:
    port = free_port()
    outputs = (
        {"encode_type": "RTMP", "rtmp_port": str(free_port()), "ip": "127.0.0.1", **H264},
        {"encode_type": "VIDEO", **H264},
        {"encode_type": "WS", "wss_port": str(port)},
    )
    with engine(tmp_path, *outputs) as running:
        running.says("the connection was refused; frames are left out")
        with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None, open_timeout=PATIENCE_S) as client:
            messages = [client.recv(timeout=PATIENCE_S) for _ in range(5)]
        running.end()
    name, pictures = pictures_of(str(tmp_path / "results" / "0_0.avi"), 10)
    assert name == "h264"
    assert_shows_the_clip(pictures)
    assert_shows_the_clip([decode_jpeg(base64.b64decode(message, validate=True)) for message in messages])
