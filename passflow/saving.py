"""The counted video as a file to look at."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType

from passflow.following import Seen
from streamserver.core.arrays import ImageBgr
from streamserver.media.encoding import Encoding
from streamserver.media.video_writer import VideoWriter

_MOST_COPIES = 3000
"""A picture that stands still for longer is not repeated any more."""


class Saver:
    """Writes the drawn pictures of a run to an .mp4; use it with ``with``. The file is there when it is complete.

    Args:
        path: ends in ``.mp4``; what is there is replaced.
        rate: pictures a second. One that is shown for longer is repeated, so that the file takes its time.

    Raises:
        OSError: the file cannot be written.
        SourceError: this machine cannot compress video.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.mp4")
        self._writer = VideoWriter(self._temporary, Encoding(rate=rate), in_one=True)
        self._began_s: float | None = None
        self._written = 0
        self._last: ImageBgr | None = None

    def add(self, seen: Seen) -> None:
        """Takes the next frame."""
        assert seen.image_bgr is not None
        if self._began_s is None:
            self._began_s = seen.clock_s
        due = round((seen.clock_s - self._began_s) * self._rate)
        for _ in range(min(due - self._written, _MOST_COPIES)):
            self._write(seen.image_bgr if self._last is None else self._last)
        if due >= self._written:
            self._write(seen.image_bgr)
        self._last = seen.image_bgr

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the file, also of a run that failed or was ended: what was counted can be looked at."""
        try:
            self._writer.close()
            if self._written:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _write(self, image_bgr: ImageBgr) -> None:
        self._writer.write(image_bgr)
        self._written += 1
