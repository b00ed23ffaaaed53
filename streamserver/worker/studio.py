"""Makes the pictures of previews and snapshots, in a thread of its own and only of what somebody watches."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Picture
from streamserver.core.preview import REPEAT_S, SNAPSHOT_PATIENCE_S, PreviewRefused, Wish
from streamserver.core.secrets import hide
from streamserver.core.source_monitor import SourceReport
from streamserver.core.states import SourceState
from streamserver.elements._drawing import findings_of
from streamserver.engine.frame import Frame
from streamserver.vision.codec import encode_jpeg
from streamserver.vision.draw.findings import Findings
from streamserver.vision.draw.places import draw_banner
from streamserver.vision.draw.scaled import scale_for, scaled_image
from streamserver.worker.overlay import Overlay

logger = logging.getLogger(__name__)

_PREVIEW_QUALITY = 80
_SNAPSHOT_QUALITY = 90
_NO_PICTURE_GREY = 40
_STOP_PATIENCE_S = 1.0
_LONGEST_WAIT_S = 60.0

Encode = Callable[[ImageBgr, int], bytes]


def _encode(image_bgr: ImageBgr, quality: int) -> bytes:
    return encode_jpeg(image_bgr, quality=quality)


@dataclass(frozen=True, slots=True)
class _Tapped:
    """One frame as it was when it came by; ``number`` tells it from others."""

    number: int
    picture: Picture
    findings: Findings


@dataclass(slots=True, eq=False)
class Show:
    """What all who have the same wish are given.

    Attributes:
        wish: what they want to see.
        overlay: how it is drawn.
        since: when the first of them came, on the monotonic clock.
        viewers: how many they are.
        number: pictures so far.
        jpeg: the last of them.
        made_at: when it was made.
        made_of: the number of its frame, which no other picture of the show will be made of; 0 for none.
        said: what stood over it.
        failure: why there will be no more, in words; empty while there will.
    """

    wish: Wish
    overlay: Overlay
    since: float
    viewers: int = 0
    number: int = 0
    jpeg: bytes = b""
    made_at: float = -math.inf
    made_of: int = 0
    said: str = ""
    failure: str = ""


class Studio:
    """Draws, scales and compresses what is watched; equal wishes share their pictures.

    Keeps the last frame of a channel from the time that somebody watches it until nobody does. Rests after each picture
    for as long as that took, so that viewers cost half of one core at most, and less where cores are short.

    Args:
        overlays: how each algorithm's channel is drawn, in the task's order.
        source: tells how the stream does.
        encode: makes a JPEG of a picture, with this quality.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        overlays: Sequence[Overlay],
        source: Callable[[], SourceReport],
        *,
        encode: Encode = _encode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._overlays = list(overlays)
        self._source = source
        self._encode = encode
        self._clock = clock
        self._watched: frozenset[int] = frozenset()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._made = threading.Condition(self._lock)
        self._shows: dict[Wish, Show] = {}
        self._latest: dict[int, _Tapped] = {}
        self._rests_until = -math.inf
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="preview pictures", daemon=True)

    def start(self) -> None:
        """Starts its thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends its thread and sends away who still watches."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            self._made.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_STOP_PATIENCE_S)

    def redraw(self, overlays: Sequence[Overlay]) -> None:
        """Draws other zones and lines from now on; what is drawn with (names of classes) stays as it was."""
        with self._lock:
            self._overlays = [replace(new, style=old.style) for new, old in zip(overlays, self._overlays, strict=True)]
            for show in self._shows.values():
                show.overlay = self._overlays[show.wish.index]

    def tap(self, frame: Frame) -> None:
        """Takes note of a frame that comes by, where somebody watches its channel; called by the engine's threads."""
        if frame.channel_id in self._watched and frame.picture is not None and not frame.branch_of:
            tapped = _Tapped(next(self._numbers), frame.picture, findings_of(frame))
            with self._lock:
                if frame.channel_id in self._watched:
                    self._latest[frame.channel_id] = tapped
                    self._work.notify_all()

    @contextmanager
    def watching(self, wish: Wish) -> Iterator[Show]:
        """Makes pictures of this kind as long as the block lasts.

        Raises:
            PreviewRefused: the task has no such algorithm.
        """
        if wish.index >= len(self._overlays):
            raise PreviewRefused(f"the task has no algorithm {wish.index}; its last is {len(self._overlays) - 1}")
        overlay = self._overlays[wish.index]
        with self._lock:
            show = self._shows.setdefault(wish, Show(wish, overlay, self._clock()))
            if wish.once and not show.viewers and (old := self._latest.get(overlay.channel_id)):
                show.made_of = old.number
            show.viewers += 1
            self._watched |= {overlay.channel_id}
            self._work.notify_all()
        try:
            yield show
        finally:
            with self._lock:
                self._leave(show)

    def next_jpeg(self, show: Show, after: int) -> tuple[int, bytes]:
        """The newest picture of a show and its number, which is above ``after``; waits for it.

        Raises:
            PreviewRefused: there will be none, or for a snapshot there was none in time.
            EOFError: the engine ends.
        """
        patience_s = SNAPSHOT_PATIENCE_S if show.wish.once else 10 * REPEAT_S
        with self._lock:
            self._made.wait_for(lambda: self._closed or show.failure or show.number > after, patience_s)
            if show.failure:
                raise PreviewRefused(show.failure)
            if self._closed:
                raise EOFError
            if show.number > after:
                return show.number, show.jpeg
        raise PreviewRefused(f"no picture came within {patience_s:g} s: {self._word() or 'none was analysed'}")

    def _leave(self, show: Show) -> None:
        """One viewer less. Under the lock."""
        show.viewers -= 1
        if not show.viewers:
            self._forget(show)
        self._watched = frozenset(one.overlay.channel_id for one in self._shows.values())
        for channel_id in set(self._latest) - self._watched:
            del self._latest[channel_id]

    def _forget(self, show: Show) -> None:
        """Who has this wish from now on is given another show. Under the lock."""
        if self._shows.get(show.wish) is show:
            del self._shows[show.wish]

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            show, tapped = due
            began = self._clock()
            try:
                self._make(show, tapped)
            except Exception:  # a part of the engine's loop: a picture that cannot be drawn is not worth a task
                logger.exception("the preview of algorithm %d cannot be drawn", show.wish.index)
                with self._lock:
                    show.failure = "the picture cannot be drawn; the engine's log says more"
                    self._forget(show)
                    self._made.notify_all()
            self._rests_until = 2 * self._clock() - began

    def _next_due(self) -> tuple[Show, _Tapped | None] | None:
        """Waits until a picture has to be made, and says which; ``None`` at the end."""
        with self._lock:
            while not self._closed:
                now = self._clock()
                due = [(self._due_at(show), place) for place, show in enumerate(self._shows.values())]
                when, place = min(due, default=(math.inf, 0))
                when = max(when, self._rests_until)
                if when <= now:
                    show = list(self._shows.values())[place]
                    if show.wish.once:
                        self._forget(show)  # who comes from now on wants a fresher frame
                    return show, self._latest.get(show.overlay.channel_id)
                self._work.wait(min(_LONGEST_WAIT_S, when - now))
        return None

    def _due_at(self, show: Show) -> float:
        """When the next picture of a show is to be made; infinite where only a new frame can tell. Under the lock."""
        latest = self._latest.get(show.overlay.channel_id)
        fresh = latest is not None and latest.number != show.made_of
        if show.wish.once:
            return -math.inf if fresh else math.inf
        if fresh:
            return show.made_at + 1 / show.wish.fps
        return (show.made_at if show.number else show.since) + REPEAT_S

    def _make(self, show: Show, tapped: _Tapped | None) -> None:
        """Makes the next picture; the same again where neither the frame nor the word on the stream is new."""
        word = "" if show.wish.once else self._word()
        if tapped is None:
            word = word or "no picture has been analysed yet"
        made_of = tapped.number if tapped else 0
        jpeg = show.jpeg
        if not show.number or (made_of, word) != (show.made_of, show.said):
            jpeg = self._compressed(show, tapped, word)
        with self._lock:
            show.jpeg, show.made_of, show.said, show.made_at = jpeg, made_of, word, self._clock()
            show.number += 1
            self._made.notify_all()

    def _compressed(self, show: Show, tapped: _Tapped | None, word: str) -> bytes:
        wish, overlay = show.wish, show.overlay
        if tapped is None:
            image_bgr = np.full((wish.width * 9 // 16, wish.width, 3), _NO_PICTURE_GREY, dtype=np.uint8)
        else:
            factor = 1.0 if wish.once else scale_for(tapped.picture.size_wh, wish.width)
            image_bgr = scaled_image(tapped.picture.bgr, factor)
            if wish.drawn:
                overlay.draw(image_bgr, tapped.findings, factor)
        if word:
            draw_banner(image_bgr, word, overlay.style.writer)
        return self._encode(image_bgr, _SNAPSHOT_QUALITY if wish.once else _PREVIEW_QUALITY)

    def _word(self) -> str:
        """What is wrong with the stream; empty when all is well."""
        report = self._source()
        if report.state in (SourceState.NONE, SourceState.STREAMING):
            return ""
        return hide(f"{report.state}: {report.reason}" if report.reason else str(report.state))
