"""The engine on a machine where PyAV is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import exitcodes
from streamserver.core.status import ENGINE_FILE, EngineStatus
from tests.elements.receiver import Receiver
from tests.media.clips import write_clip
from tests.media.streams import Camera
from tests.worker.tasks import DECODE, environment, push, write_task

PATIENCE_S = 60.0
TASK = ("--demo_config_path=demo.json", "--task_dir=.", "--run=key")
H264 = {"enc_fmt": "h264_bm", "pix_fmt": "I420", "fps": 25}


def command(module: str, *arguments: str) -> list[str]:
    """``python -m module`` as if PyAV were not there."""
    code = f"import runpy, sys; sys.modules['av'] = None; runpy.run_module({module!r}, run_name='__main__')"
    return [sys.executable, "-W", "error", "-c", code, *arguments]


def run(module: str, *arguments: str, folder: Path, decoder: str = "opencv", **more: Any) -> Any:
    return subprocess.run(
        command(module, *arguments),
        cwd=folder,
        env=environment(STREAMSERVER_DECODER=decoder),
        capture_output=True,
        timeout=PATIENCE_S,
        **more,
    )


def status_of(folder: Path) -> EngineStatus:
    return EngineStatus.read(folder / ENGINE_FILE) or EngineStatus()


@contextmanager
def engine(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command("streamserver.worker", *TASK),
        cwd=folder,
        env=environment(STREAMSERVER_DECODER="opencv"),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_file_is_analysed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=10)
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, push(receiver.port)], sample_interval=3, loop_num=2)
        result = run("streamserver.worker", *TASK, folder=tmp_path)
    assert (result.returncode, result.stderr) == (exitcodes.FINISHED, b"")
    frames = [message["mFrame"] for message in receiver.messages]
    assert [(f["mLoop"], f["mFrameId"]) for f in frames] == [(loop, n) for loop in range(2) for n in (0, 3, 6, 9)]
    assert status_of(tmp_path).stream == "h264 64x48 25 fps"


def test_a_stream_is_analysed(tmp_path: Path) -> None:
    body = write_clip(tmp_path / "a.ts", frames=12).read_bytes()
    with Receiver() as receiver, Camera(body) as camera:
        write_task(tmp_path, camera.url, [DECODE, push(receiver.port)], source_type="HTTP", fps=25)
        with engine(tmp_path) as process:
            end = time.monotonic() + PATIENCE_S
            while status_of(tmp_path).reconnects < 1:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.05)
            process.terminate()
            _, stderr = process.communicate(timeout=PATIENCE_S)
    assert stderr == b""
    assert {message["mFrame"]["mWidth"] for message in receiver.messages} == {64}


def test_graphs_are_listed_and_checked(tmp_path: Path) -> None:
    write_task(tmp_path, "a.mp4", [DECODE, ("encode", {"encode_type": "VIDEO", **H264})])
    write_clip(tmp_path / "a.mp4")
    for verb in ("check", "show"):
        result = run("streamserver.graph", verb, "demo.json", folder=tmp_path)
        assert (result.returncode, result.stderr) == (0, b""), result


@pytest.mark.parametrize("kind", ["VIDEO", "RTMP"])
def test_who_asks_for_compressed_video_is_told_the_cure(tmp_path: Path, kind: str) -> None:
    configure = {"encode_type": kind, "rtmp_port": "1935", **H264}
    write_task(tmp_path, write_clip(tmp_path / "a.mp4"), [DECODE, ("encode", configure)])
    assert run("streamserver.worker", *TASK, folder=tmp_path).returncode == exitcodes.BAD_GRAPH
    error = status_of(tmp_path).error
    assert f"encode_type: {kind} needs an encoder, but PyAV cannot be imported" in error
    assert "install the package 'av' as requirements.txt names it, or use IMG_DIR or WS" in error


def test_pictures_are_written_all_the_same(tmp_path: Path) -> None:
    write_task(tmp_path, write_clip(tmp_path / "a.mp4"), [DECODE, ("encode", {"encode_type": "IMG_DIR"})])
    assert run("streamserver.worker", *TASK, folder=tmp_path).returncode == exitcodes.FINISHED
    assert len(list((tmp_path / "results").rglob("*.jpg"))) == 10


@pytest.mark.parametrize(("url", "kind"), [("a.mp4", "VIDEO"), ("rtsp://user:secret@127.0.0.1:1/cam", "RTSP")])
def test_a_decoder_that_is_not_there_ends_the_task_with_the_cure(tmp_path: Path, url: str, kind: str) -> None:
    write_clip(tmp_path / "a.mp4")
    write_task(tmp_path, url, [DECODE, push(1)], source_type=kind)
    assert run("streamserver.worker", *TASK, folder=tmp_path, decoder="av").returncode == exitcodes.SOURCE_MISSING
    error = status_of(tmp_path).error
    assert "the setting 'decoder' is 'av', but PyAV cannot be imported" in error
    assert "or set it to 'opencv'" in error
    assert "secret" not in error


def test_a_snapshot_is_taken(tmp_path: Path) -> None:
    question = {"address": str(write_clip(tmp_path / "a.mp4")), "source_type": "VIDEO", "decoder": "opencv"}
    result = run("streamserver.media.snapshot", folder=tmp_path, input=json.dumps(question).encode() + b"\n")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(b"\xff\xd8")
