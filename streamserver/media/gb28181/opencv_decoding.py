"""From the bytes of a video to pictures, with OpenCV: for machines without PyAV."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from streamserver.core.errors import SourceError
from streamserver.media.connection import Decoded
from streamserver.media.gb28181.program_stream import Piece
from streamserver.media.opencv_reader import OpenCvReader

_PROBE = {"probesize": "32768", "analyzeduration": "500000"}
_LIMITS_S = (75.0, 75.0)
"""Longer than the pieces can stay away: they have limits of their own, which know the reason."""

_SPS_TYPES = {"h264": 7, "hevc": 33}
"""What OpenCV can tell from the bytes alone, and the unit that says how large the pictures are."""


class OpenCvDecoding:
    """Decodes pieces in one thread; where codec or size change, it starts anew.

    Args:
        on_broken: told of each picture that could not be decoded.
        stopping: ends the wait for others that open.

    Attributes:
        video: what is decoded, in words: ``h264 1920x1080``; empty before the first picture.
    """

    def __init__(self, on_broken: Callable[[int], None], stopping: threading.Event) -> None:
        self.video = ""
        self._on_broken = on_broken
        self._stopping = stopping

    def pictures(self, pieces: Iterator[tuple[str, Piece]]) -> Iterator[Decoded]:
        """The pictures in order, those that the decoder still holds at the end as well.

        Args:
            pieces: each with its codec.

        Raises:
            SourceError: it cannot be decoded, or the pieces have ended with this reason.
        """
        stretch = _Stretch(pieces)
        while stretch.codec:
            yield from self._decoded(stretch)
            stretch.raise_error()
            stretch = stretch.next()
        stretch.raise_error()

    def _decoded(self, stretch: _Stretch) -> Iterator[Decoded]:
        if stretch.codec not in _SPS_TYPES:
            raise SourceError(
                f"the video is {stretch.codec}, which OpenCV cannot read from GB28181",
                cure="set the camera to H.264 or H.265, or the setting decoder to av",
            )
        try:
            reader = OpenCvReader(
                stretch, options=_PROBE, timeout_s=_LIMITS_S, stopping=self._stopping, on_broken=self._on_broken
            )
        except SourceError:
            stretch.raise_error()  # the reason why nothing could be read says more
            raise
        with closing(reader):
            for decoded in reader.frames():
                width, height = decoded.picture.size_wh
                self.video = f"{stretch.codec} {width}x{height}"
                yield decoded


class _Stretch(io.BufferedIOBase):
    """The pieces up to the next change of codec or size, as a file that OpenCV reads.

    OpenCV calls it from C++, which no exception may pass through: one is kept until ``raise_error``.

    Attributes:
        codec: of the first piece; empty if there is none.
    """

    def __init__(self, pieces: Iterator[tuple[str, Piece]], first: tuple[str, Piece] | None = None) -> None:
        self._pieces = pieces
        self._error: BaseException | None = None
        self._following: tuple[str, Piece] | None = None
        self._sps = b""
        self._left = b""
        self._over = False
        self.codec = ""
        first = first or self._pull()
        if first is not None:
            self.codec, piece = first
            self._sps = _sps(self.codec, piece.data)
            self._left = piece.data

    def next(self) -> _Stretch:
        """What follows this one."""
        return _Stretch(self._pieces, self._following)

    def raise_error(self) -> None:
        """Raises what ended the pieces, if it was an error."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, as soon as there are any; none at the end."""
        while not self._left and not self._over:
            self._advance()
        end = len(self._left) if size is None or size < 0 else size
        taken, self._left = self._left[:end], self._left[end:]
        return taken

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """OpenCV asks for the length this way; -1: there is none. An exception would end the process."""
        return -1

    def _advance(self) -> None:
        following = self._pull()
        if following is None:
            self._over = True
            return
        codec, piece = following
        sps = _sps(codec, piece.data)
        if codec != self.codec or (sps and self._sps and sps != self._sps):
            self._over, self._following = True, following
            return
        self._sps = sps or self._sps
        self._left = piece.data

    def _pull(self) -> tuple[str, Piece] | None:
        try:
            return next(self._pieces, None)
        except BaseException as e:  # noqa: BLE001  raised again by raise_error, on this side of OpenCV
            self._error = e
            return None


def _sps(codec: str, data: bytes) -> bytes:
    """The unit in ``data`` that says how large the pictures are; empty if there is none."""
    at = data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 4:
        end = data.find(b"\x00\x00\x01", at + 3)
        kind = data[at + 3] & 0x1F if codec == "h264" else data[at + 3] >> 1 & 0x3F
        if kind == _SPS_TYPES.get(codec):
            return data[at + 3 : end if end >= 0 else len(data)].rstrip(b"\x00")
        at = end
    return b""
