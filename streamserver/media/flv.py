"""The pictures' part of an FLV stream (RTMP, HTTP-FLV), for a demuxer that would wait for the sound otherwise.

FFmpeg's demuxer makes a new stream when a camera changes its codec, and PyAV never hands out the packets of a stream
that was not there at the beginning: the reader would wait for ever. Here such a change ends one part of the stream, and
the next part is read by a new demuxer, on the same connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from streamserver.core.errors import SourceError

_MAGIC = b"FLV"
_HEADER = b"FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x00"
"""Says that there are pictures and no sound."""

_HEADER_BYTES, _TAG_BYTES, _TRAILER_BYTES = 9, 11, 4
_SOUND, _PICTURE, _SCRIPT = 8, 9, 18
_COMMAND_FRAME = 5
_ENHANCED = 0x80
_PACKETS_WITH_CODEC = frozenset({0, 1, 3})
"""Of enhanced FLV: the sequence header, and the two kinds of coded frames; the others may be laid out differently."""

_LARGEST_TAG = 1 << 24


class FlvPictures:
    """A file to read with one demuxer for each part of the stream.

    Args:
        chunks: the stream as it comes.
        silent_s: seconds of data without a picture after which it is given up.
    """

    def __init__(self, chunks: Iterator[bytes], *, silent_s: float) -> None:
        self._chunks = chunks
        self._silent_s = silent_s
        self._buffer = bytearray()
        self._ready = bytearray(_HEADER)
        self._coding = b""
        self._next_coding = b""
        self._begun = False
        self._last_picture = time.monotonic()

    def next_part(self) -> bool:
        """Goes on to the part of another coding; False if there is none, because the stream has ended."""
        if not self._next_coding:
            return False
        self._coding, self._next_coding = self._next_coding, b""
        self._ready = bytearray(_HEADER)
        return True

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end of the part.

        Raises:
            SourceError: this is not FLV, or it goes on without pictures.
        """
        asked = time.monotonic()
        while not self._ready and not self._next_coding:
            if not self._take_tag():
                self._give_up_if_silent(max(asked, self._last_picture))
                chunk = next(self._chunks, b"")
                if not chunk:
                    return b""
                self._buffer += chunk
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _take_tag(self) -> bool:
        """Moves one tag on, or leaves it out; False if it has not come as a whole."""
        if bytes(self._buffer[:3]) == _MAGIC:
            return self._skip_header()
        if len(self._buffer) <= _TAG_BYTES:
            return False
        if not self._begun:
            raise SourceError("this is not an FLV stream")
        kind = self._buffer[0] & 0x1F
        end = _TAG_BYTES + int.from_bytes(self._buffer[1:4], "big") + _TRAILER_BYTES
        if kind not in (_SOUND, _PICTURE, _SCRIPT):
            raise SourceError("the FLV stream is broken")
        if len(self._buffer) < end:
            return False
        if kind == _PICTURE:
            self._last_picture = time.monotonic()
            if self._changes(self._buffer[_TAG_BYTES : _TAG_BYTES + 5]):
                return True
        else:
            self._give_up_if_silent(self._last_picture)
        if kind != _SOUND:
            self._ready += self._buffer[:end]
        del self._buffer[:end]
        return True

    def _give_up_if_silent(self, since: float) -> None:
        if time.monotonic() - since > self._silent_s:
            raise SourceError(f"data comes, but for {self._silent_s:.0f} s no picture was among it")

    def _skip_header(self) -> bool:
        """Leaves out a header: the first one, or one in mid-stream, where a publisher has started anew."""
        if len(self._buffer) < _HEADER_BYTES:
            return False
        end = int.from_bytes(self._buffer[5:9], "big") + _TRAILER_BYTES
        if end > _LARGEST_TAG:
            raise SourceError("the FLV stream is broken")
        if len(self._buffer) < end:
            return False
        del self._buffer[:end]
        self._begun = True
        return True

    def _changes(self, head: bytearray) -> bool:
        """True if this picture is coded in another way than those before it."""
        coding = _coding_of(bytes(head))
        if not coding or coding == self._coding:
            return False
        if not self._coding:
            self._coding = coding
            return False
        self._next_coding = coding
        return True


def _coding_of(head: bytes) -> bytes:
    """Which codec the first five bytes of a picture's tag name; empty where they name none."""
    if len(head) < 5:
        return b""
    if head[0] & _ENHANCED:
        return head[1:5] if head[0] & 0x0F in _PACKETS_WITH_CODEC else b""
    return b"" if head[0] >> 4 == _COMMAND_FRAME else head[:1].translate(_LOW_NIBBLE)


_LOW_NIBBLE = bytes(value & 0x0F for value in range(256))
