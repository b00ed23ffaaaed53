"""Video files, written so that what is there can be played even if the process is killed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from streamserver.core.arrays import ImageBgr
from streamserver.media.encoding import Encoding, add_stream, to_frame

if TYPE_CHECKING:
    import av

_OPTIONS = {
    ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
    ".avi": {"flush_packets": "1"},
}

_IN_ONE = {".mp4": {"movflags": "faststart"}}


class VideoWriter:
    """One file: each picture is one frame, shown for 1 / rate seconds.

    An .mp4 is written in fragments, one from key frame to key frame; an .avi can be read to where it breaks off.
    ``in_one`` writes an .mp4 in one piece, which the oldest of players can seek in, and which is worth nothing before
    it is closed.

    Args:
        path: its ending, ``.avi`` or ``.mp4``, says the container.
        encoding: pictures of another size than the first are stretched to it.

    Raises:
        OSError: the file cannot be written, from ``write`` and ``close`` too; ``close`` has to be called all the same.
    """

    def __init__(self, path: Path, encoding: Encoding, *, in_one: bool = False) -> None:
        import av

        self.path = path
        self._rate = Fraction(encoding.rate).limit_denominator(1001)
        self._encoding = encoding
        self._size_wh = (0, 0)
        self._written = 0
        options = _IN_ONE if in_one else _OPTIONS
        self._container = av.open(str(path), "w", container_options=options[path.suffix])
        self._stream: av.VideoStream | None = None

    def write(self, image_bgr: ImageBgr) -> None:
        """Adds a picture."""
        if self._stream is None:
            encoding = self._encoding.for_picture((image_bgr.shape[1], image_bgr.shape[0]))
            self._size_wh = encoding.size_wh
            self._stream = add_stream(self._container, encoding, 1 / self._rate)
        frame = to_frame(image_bgr, self._size_wh, self._stream.pix_fmt)
        frame.pts, frame.time_base = self._written, 1 / self._rate
        self._container.mux(self._stream.encode(frame))
        self._written += 1

    def close(self) -> None:
        """Completes the file; one without a picture is removed."""
        try:
            if self._stream is not None and self._written:
                self._container.mux(self._stream.encode())
        finally:
            try:
                self._container.close()
            finally:
                if not self._written:
                    self.path.unlink(missing_ok=True)
