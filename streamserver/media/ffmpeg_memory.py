"""How much memory FFmpeg may take at a time, whatever a camera says or sends.

It would gather a picture that never ends, or an answer that is announced as large, up to 2 GB.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_MOST_BYTES = 256_000_000
"""Of one piece of memory; the largest picture of ``picture_size.MAX_VIDEO_PIXELS`` takes 200 million."""

_LIBRARY = "libavutil"


def bound() -> None:
    """Limits every FFmpeg that this process has loaded; cheap, and to be called before each opening.

    Where that cannot be done, because FFmpeg is linked in otherwise, it stays without a limit.
    """
    try:
        mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:
        return
    for path in mapped:
        if Path(path).name.startswith(_LIBRARY):
            limit = ctypes.CDLL(path).av_max_alloc
            limit.argtypes, limit.restype = [ctypes.c_size_t], None
            limit(_MOST_BYTES)
