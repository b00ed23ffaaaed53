"""How far a run is, on a terminal, and its totals in words."""

from __future__ import annotations

import sys
import time

import cv2

from passflow.following import Seen
from passflow.request import Request
from streamserver.media.pacing import plausible_rate

_REDRAW_S = 0.2
_BAR = 30
_CLEAR = "\r\x1b[K"


class Progress:
    """Shows one line that changes; shows nothing where standard error is no terminal.

    Attributes:
        frames: how many have come.
        rate: how many a second the video has; known from the first frame on.
    """

    def __init__(self, request: Request) -> None:
        self.frames = 0
        self.rate = plausible_rate(0)
        self._request = request
        self._all = 0
        self._gaps = 0
        self._last: Seen | None = None
        self._terminal = sys.stderr.isatty()
        self._drawn_at = 0.0

    def show(self, seen: Seen | None) -> None:
        """Takes what is told of the next frame."""
        if seen is None:
            self._gaps += 1
            return
        if not self.frames and not self._request.is_live:
            self._all, self.rate = _length(self._request.address)
        self.frames, self._last = self.frames + 1, seen
        now = time.monotonic()
        if self._terminal and now - self._drawn_at >= _REDRAW_S:
            self._drawn_at = now
            sys.stderr.write(f"{_CLEAR}{self._bar()}{self.words}")
            sys.stderr.flush()

    def close(self) -> None:
        """Takes the line away."""
        if self._drawn_at:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    @property
    def words(self) -> str:
        """The numbers so far."""
        if self._last is None:
            return "nothing was counted"
        tally = self._last.tally
        ways = f"{tally.came} came in, {tally.went} went out" if self._request.polygons else f"{tally.came} passed"
        words = f"{ways}, {tally.current} there now ({self.frames} frames)"
        return words + (f"; data was missing or damaged {self._gaps} times" if self._gaps else "")

    def _bar(self) -> str:
        if not self._all:
            return ""
        share = min(1.0, self.frames / self._all)
        filled = round(share * _BAR)
        return f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%} "


def _length(path: str) -> tuple[int, float]:
    """The frames of a file, 0 where it does not say, and how many a second."""
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    try:
        return max(0, round(video.get(cv2.CAP_PROP_FRAME_COUNT))), plausible_rate(video.get(cv2.CAP_PROP_FPS))
    finally:
        video.release()
