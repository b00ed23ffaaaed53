from __future__ import annotations

import io
import logging
import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from streamserver.core.errors import SourceError
from streamserver.media.av_reader import VideoReader, luma_of, reason_in_words
from tests.media.clips import picture, write_clip

LARGE = (96, 64)
TS_PACKET = 188


def clip(folder: Path, codec: str, size_wh: tuple[int, int] = (64, 48), frames: int = 12) -> bytes:
    return write_clip(folder / f"{codec}{size_wh[0]}.ts", codec=codec, size_wh=size_wh, frames=frames).read_bytes()


def noisy_clip(path: Path, *, frames: int) -> bytes:
    """A clip whose pictures take many packets each, 160x120, as MPEG-TS."""
    random = np.random.default_rng(1)
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "30", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(frames):
            image = random.integers(0, 256, (120, 160, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path.read_bytes()


class Pipe:
    """Bytes that come one after another, as from a connection."""

    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)

    def read(self, size: int) -> bytes:
        return self._body.read(min(size, 4096))


def sizes(body: bytes, broken: list[int] | None = None) -> list[tuple[int, int]]:
    """The size of each picture in ``body``; ``broken`` gets an entry for each packet that was not decoded."""
    noted: list[int] = [] if broken is None else broken
    options = {"merge_pmt_versions": "1", "probesize": "200"}
    with VideoReader(Pipe(body), form="mpegts", options=options, on_broken=lambda: noted.append(1)) as reader:
        return [(frame.width, frame.height) for frame in reader.frames()]


@pytest.mark.parametrize(
    ("before", "after"), [("libx264", "libx265"), ("libx265", "libx264"), ("libx264", "mpeg2video")]
)
def test_another_codec_in_mid_stream_gets_another_decoder(
    tmp_path: Path, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    groups = [clip(tmp_path, before), clip(tmp_path, after, LARGE), clip(tmp_path, after, LARGE)]
    seen = sizes(b"".join(groups))
    assert seen[:8] == [(64, 48)] * 8
    assert seen[-11:] == [LARGE] * 11, "the first group may be lost: its key frame came together with what was before"
    assert "the video changed from" in caplog.text


@pytest.mark.parametrize("codec", ["libsvtav1", "libvpx-vp9", "mjpeg", "mpeg4"])
def test_a_codec_that_does_not_change_keeps_its_decoder(
    tmp_path: Path, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / "a.mp4", codec=codec, pixel_format=pixel_format, size_wh=LARGE)
    with VideoReader(str(path)) as reader:
        assert len(list(reader.frames())) == 10
    assert caplog.text == ""


def test_another_size_in_mid_stream_goes_on(tmp_path: Path) -> None:
    broken: list[int] = []
    seen = sizes(clip(tmp_path, "libx264") + clip(tmp_path, "libx264", LARGE), broken)
    assert seen == [(64, 48)] * 12 + [LARGE] * 12
    assert broken == []


def test_pictures_that_move_to_another_program_id_are_followed(tmp_path: Path) -> None:
    before = clip(tmp_path, "libx264")
    path = tmp_path / "moved.ts"
    with av.open(str(path), "w", format="mpegts", options={"mpegts_start_pid": "0x200"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *LARGE, "yuv420p"
        stream.codec_context.max_b_frames = 0
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number, LARGE), format="bgr24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    seen = sizes(before + path.read_bytes())
    assert seen.count(LARGE) >= 12


def test_half_a_group_of_garbage_is_left_out_and_counted(tmp_path: Path) -> None:
    body = bytearray(noisy_clip(tmp_path / "noisy.ts", frames=60))
    third = len(body) // TS_PACKET // 3
    for packet in range(third, 2 * third):
        start = packet * TS_PACKET
        if not body[start + 1] & 0x40:  # what begins a picture stays: the garbage is in its middle
            body[start + 4 : start + TS_PACKET] = os.urandom(TS_PACKET - 4)
    broken: list[int] = []
    seen = sizes(bytes(body) + clip(tmp_path, "libx264"), broken)
    assert 30 <= seen.count((160, 120)) <= 60
    assert seen.count((64, 48)) == 12
    assert len(broken) >= 10


def test_noise_alone_ends_with_an_error_and_no_crash() -> None:
    noise = os.urandom(200_000)
    with pytest.raises((av.FFmpegError, SourceError)):
        sizes(b"".join(b"\x47\x01\x00\x10" + noise[i : i + 184] for i in range(0, len(noise) - 184, 184)))


def test_a_stream_of_sound_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mp2", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="it has no video stream"):
        VideoReader(str(path))


def test_reading_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    stopping = threading.Event()
    path = write_clip(tmp_path / "a.ts", frames=50)
    with VideoReader(str(path), stopping=stopping) as reader:
        frames = reader.frames()
        next(frames)
        stopping.set()
        assert len(list(frames)) <= 1


def test_nothing_of_ffmpeg_reaches_the_logs_or_standard_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(av.FFmpegError) as caught:
        VideoReader("http://user:secret@127.0.0.1:1/cam?token=hidden", timeout_s=(5.0, 5.0))
    assert reason_in_words(caught.value) == "the connection was refused"
    assert sizes(clip(tmp_path, "libx264"))
    assert "libav" not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "gray", "bgr24", "nv12"])
def test_brightness_is_that_of_every_eighth_pixel(pixel_format: str) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixel_format)
    luma = luma_of(frame)
    assert luma.shape == (6, 8)
    assert luma.dtype == np.uint8
    assert (luma[:, :3] < 40).all()
    assert (luma[:, 5:] > 200).all()


def test_a_stream_of_gigantic_pictures_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.media.picture_size.MAX_VIDEO_PIXELS", 64 * 48 - 1)
    with pytest.raises(SourceError, match="its pictures of 64x48 have over 3071 pixels; set the camera to"):
        VideoReader(str(write_clip(tmp_path / "a.mp4")))


def test_pictures_that_become_gigantic_on_the_way_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take a gigabyte, and the decoder keeps up to sixteen."""
    monkeypatch.setattr("streamserver.media.av_reader.MAX_VIDEO_PIXELS", 80 * 60)
    broken: list[int] = []
    found = sizes(clip(tmp_path, "libx264") + clip(tmp_path, "libx264", LARGE), broken)
    assert set(found) == {(64, 48)} and broken
