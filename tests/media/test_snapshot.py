from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media import snapshot
from streamserver.media.snapshot import spec_from_line
from streamserver.media.sources import SourceFrame
from streamserver.vision.codec import decode_jpeg, encode_jpeg
from tests.media.clips import picture, write_clip
from tests.servers.clips import make_clip
from tests.servers.rtsp import RtspServer

PATIENCE_S = 90.0
PASSWORD = "hidden/?#@ pass"
COMMAND = [sys.executable, "-W", "error", "-m", "streamserver.media.snapshot"]


def ask(address: str, *arguments: str, **more: str) -> tuple[int, bytes, str]:
    """Exit code, what was written to standard output, and to standard error."""
    line = json.dumps({"address": address, **more}).encode() + b"\n"
    result = subprocess.run(
        [*COMMAND, *(arguments or ("--limit_s", "60"))],
        cwd=PROJECT_DIR,
        input=line,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    said = result.stderr.decode()
    assert "hidden" not in said
    assert said.count("\n") == (result.returncode != 0)
    return result.returncode, result.stdout, said.strip()


@pytest.mark.parametrize("decoder", ["av", "opencv"])
def test_of_a_file_the_first_picture_is_taken(tmp_path: Path, decoder: str) -> None:
    code, jpeg, said = ask(str(write_clip(tmp_path / "a.mkv", codec="ffv1", pixel_format="bgr0")), decoder=decoder)
    assert (code, said) == (0, "")
    image = decode_jpeg(jpeg)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - decode_jpeg(encode_jpeg(picture(0), quality=90))).max() <= 3


@pytest.mark.parametrize("decoder", ["av", "opencv"])
def test_of_a_camera_with_a_password_a_picture_is_taken(decoder: str) -> None:
    with RtspServer(make_clip(size_wh=(160, 120), seconds=2.0), user="user", password=PASSWORD) as camera:
        code, jpeg, said = ask(camera.url_with("user", PASSWORD, raw=True), transport="", decoder=decoder)
        assert (code, said) == (0, "")
        assert decode_jpeg(jpeg).shape == (120, 160, 3)
        code, jpeg, said = ask(camera.url_with("user", "hidden"), source_type="RTSP", decoder=decoder)
        assert (code, jpeg, said) == (1, b"", "the user name or the password was refused (401)")


def test_of_a_camera_that_refuses_tcp_a_picture_is_taken_over_udp() -> None:
    with RtspServer(make_clip(size_wh=(160, 120), seconds=2.0), transports=("udp",)) as camera:
        assert ask(camera.url)[0] == 0


def test_of_a_folder_the_first_picture_is_taken(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(encode_jpeg(picture(0)))
    code, jpeg, _ = ask(str(tmp_path), source_type="IMG_DIR")
    assert code == 0
    assert decode_jpeg(jpeg).shape == (48, 64, 3)


def test_what_cannot_be_read_says_why_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        code, jpeg, said = ask(f"http://user:hidden@127.0.0.1:{taken.getsockname()[1]}/cam?token=hidden")
    assert (code, jpeg, said) == (1, b"", "the connection was refused")
    code, jpeg, said = ask(f"{tmp_path}/absent.mp4")
    assert (code, jpeg) == (1, b"")
    assert said == f"video file '{tmp_path}/absent.mp4' does not exist; check the path as this machine sees it"


@pytest.mark.parametrize("decoder", ["av", "opencv"])
def test_a_host_that_never_answers_is_given_up_in_time(decoder: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://user:hidden@127.0.0.1:{silent.getsockname()[1]}/cam"
        assert ask(address, "--limit_s", "1.0", decoder=decoder) == (1, b"", "no picture came within 1 s")


@pytest.mark.parametrize("line", [b"", b"no json\n", b"[]\n", b'"x"\n', b"{}\n", b"\xff\n", b'{"address": 3}\n'])
def test_a_question_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(SourceError, match="expected one line of JSON"):
        spec_from_line(line)


def test_it_ends_with_whoever_started_it() -> None:
    """A web process that was killed must not leave it waiting for a camera."""
    code = (
        "import os, subprocess, sys\n"
        "environment = {**os.environ, 'STREAMSERVER_PARENT_PID': str(os.getpid())}\n"
        f"child = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, env=environment)\n"
        "child.stdin.write(sys.stdin.buffer.readline())\n"
        "child.stdin.flush()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        question = json.dumps({"address": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"})
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as parent:
            assert parent.stdin is not None and parent.stdout is not None
            parent.stdin.write(question.encode() + b"\n")
            parent.stdin.flush()
            assert int(parent.stdout.readline()) > 0
            connection, _ = silent.accept()
            parent.send_signal(signal.SIGKILL)
        with connection:
            connection.settimeout(PATIENCE_S)
            while connection.recv(4096):  # until its end, for which the process has to end
                pass


def frames_with_losses(monitor: SourceMonitor, lost_before: list[int]) -> Iterator[SourceFrame]:
    """Frames, before each of which so many packets were lost; the value of each picture is its number."""
    for number, lost in enumerate(lost_before):
        monitor.broken(lost)
        image = np.full((2, 2, 3), number, np.uint8)
        yield SourceFrame(number, 0, 0, 0.0, discontinuity=False, picture=Picture((2, 2), lambda image=image: image))


@pytest.mark.parametrize(
    ("lost_before", "chosen"),
    [([0, 0, 0], 0), ([3] + [0] * 40, 12), ([3, 0, 0, 1] + [0] * 40, 15), ([3, 1], 1), ([], None)],
)
def test_a_picture_after_losses_waits_until_there_are_no_more(lost_before: list[int], chosen: int | None) -> None:
    monitor = SourceMonitor()
    picture_ = snapshot._choose(frames_with_losses(monitor, lost_before), monitor)
    assert (None if picture_ is None else picture_.bgr[0, 0, 0]) == chosen
