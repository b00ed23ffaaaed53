"""FFmpeg's memory has a limit."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from streamserver.media.av_reader import VideoReader
from tests.media.clips import write_clip


def test_ffmpeg_takes_no_memory_for_what_is_gigantic_and_enough_for_the_largest_video(tmp_path: Path) -> None:
    with VideoReader(str(write_clip(tmp_path / "a.mp4"))) as reader:
        assert len(list(reader.frames())) == 10
    with pytest.raises((MemoryError, av.FFmpegError)):
        av.VideoFrame(16_000, 16_000, "bgr24")
    assert av.VideoFrame(8_000, 8_000, "bgr24").width == 8_000
