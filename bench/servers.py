"""Clips as the test's media servers want them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.clips import FRAMES, RATE
from tests.servers.clips import Clip
from tests.servers.packages import needs


def camera_of(clip: Path) -> Clip:
    """A clip of ``bench.clips`` that a camera can play; skips (pytest) where ffmpeg is absent."""
    needs("ffmpeg")
    elementary = clip.with_suffix(".h264")
    if not elementary.is_file():
        part = clip.with_suffix(".part.h264")
        delimiters = ("-bsf:v", "h264_mp4toannexb,h264_metadata=aud=insert")
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(clip), "-c", "copy", *delimiters]
        subprocess.run([*command, "-f", "h264", str(part)], check=True, timeout=120)
        part.replace(elementary)
    return Clip(clip, elementary, "h264", (1920, 1080), RATE, FRAMES)
