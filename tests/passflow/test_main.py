"""``python -m passflow`` as somebody uses it who does not program."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from passflow.__main__ import DONE, FAILED, INTERRUPTED, USAGE, main
from tests import assets
from tests.media.clips import write_clip
from tests.passflow.clips import one_person
from tests.servers.process import wait_until

PROJECT = Path(__file__).resolve().parents[2]
AREA = "512,0 768,0 768,432 512,432"


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_MODELS", str(assets.model("yolox_nano.onnx").parent))


def video_of(path: Path) -> tuple[str, tuple[int, int], int, float]:
    """Codec, size, frames and seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video=0))
        assert stream.duration is not None and stream.time_base is not None
        return (
            stream.codec_context.name,
            (stream.width, stream.height),
            frames,
            float(stream.duration * stream.time_base),
        )


def test_it_counts_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, saved = one_person(tmp_path / "one.mp4"), tmp_path / "saved.mp4"
    code = main([str(clip), "--region", AREA, "--detect-interval", "5", "--save", str(saved)])
    said = capsys.readouterr()
    assert (code, said.err) == (DONE, "")
    assert said.out == f"1 came in, 0 went out, 0 there now (70 frames)\nsaved {saved}\n"
    assert video_of(saved) == ("h264", (768, 432), 70, pytest.approx(7, abs=0.2))
    data = saved.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"moof" not in data, "old players cannot seek in fragments"
    assert sorted(tmp_path.iterdir()) == [clip, saved], "nothing temporary is left"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no such.mp4"], FAILED, "does not exist"),
        (["a.wmv"], USAGE, "video files end in .mp4"),
        (["ftp://h/a"], USAGE, "over rtsp or rtmp"),
        ([""], USAGE, "video_path is missing"),
        (["a.mp4", "--region", "1,1 5,5"], USAGE, "2 different points make no area"),
        (["a.mp4", "--region", "1,1 5,5 9"], USAGE, "expected x and y"),
        (["a.mp4", "--detect-interval", "0"], USAGE, "expected 1 to 30"),
        (["a.mp4", "--device", "gpu", "--gpu-id", "-1"], FAILED, "gpu_id"),
        (["clip.mp4", "--save", "b.avi"], USAGE, "has to end in .mp4"),
        (["clip.mp4", "--save", "no/b.mp4"], USAGE, "there is no folder"),
        (["clip.mp4", "--save", "there.mp4"], USAGE, "add --overwrite"),
        (["clip.mp4", "--save", "clip.mp4", "--overwrite"], USAGE, "is the video that is to be counted"),
        (["clip.mp4", "--model", "none"], FAILED, "model 'none'"),
        (["clip.mp4", "--model", "yunet_n"], FAILED, "finds no people; 'yolox_nano' does"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_words(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "there.mp4").write_text("mine")
    assert main(arguments) == code
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.startswith("error: ")
    assert said.out == ""
    assert (tmp_path / "there.mp4").read_text() == "mine"


@pytest.mark.parametrize("text", ["1,1 5,5 x", "1.5,1 2,2 3,3", "a"])
def test_corners_that_are_no_numbers_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["a.mp4", "--region", text])
    assert ended.value.code == USAGE
    assert "expected corners like" in capsys.readouterr().err


def test_where_a_licence_is_required_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMSERVER_LICENSE", "required")
    assert main([str(write_clip(tmp_path / "a.mp4"))]) == FAILED
    assert "a licence is required" in capsys.readouterr().err


def test_a_terminal_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    assert main([str(write_clip(tmp_path / "a.mp4")), "--detect-interval", "30"]) == DONE
    assert "[###..........................." in shown.getvalue()
    assert "10% 0 passed, 0 there now (1 frames)" in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[K"), "the line is taken away again"


def test_a_run_that_is_interrupted_leaves_what_it_has(tmp_path: Path) -> None:
    clip, saved = assets.clip("one-by-one-person-detection.mp4"), tmp_path / "saved.mp4"
    command = [sys.executable, "-m", "passflow", str(clip), "--save", str(saved)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    environment.pop("OPENCV_FFMPEG_IS_THREAD_SAFE", None)  # of another test's reader; OpenCV would speak of it
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(
                lambda: any(path.stat().st_size > 20_000 for path in tmp_path.glob(".saved.*")), lambda: str(process)
            )
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, err) == (INTERRUPTED, "")
    assert "passed, " in out and f"saved {saved}" in out
    assert video_of(saved)[2] > 0
    assert list(tmp_path.iterdir()) == [saved]
