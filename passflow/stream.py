"""Frames of a file or a stream, with the places where data is missing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Generator
from contextlib import closing

from passflow.request import Request
from streamserver.core.errors import SourceError
from streamserver.core.settings import Settings
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceFrame, SourceSpec, open_source

Frames = Generator[SourceFrame | None, None, None]
"""Frames in order; ``None`` where something before the next is missing."""

_JOIN_S = 2.0


def read_frames(request: Request, settings: Settings, *, patience_s: float) -> Frames:
    """The frames in order; ``None`` where something before the next frame is missing or could not be decoded.

    Of a file each frame, as fast as they are taken. Of a stream the newest: what comes while the last one is looked at
    is left out. A stream that breaks off is connected anew.

    Args:
        request: what to read.
        settings: ``decoder``, ``stalled_after_s``, ``frozen_after_s``.
        patience_s: how long a stream may give no picture.

    Raises:
        SourceError: it cannot be opened, or the stream has given no picture for ``patience_s``.
    """
    spec = SourceSpec(
        url=request.address,
        source_type=request.source_type,
        fps=AS_FAST_AS_IT_GOES,
        decoder=settings.decoder,
        stalled_after_s=settings.stalled_after_s,
        frozen_after_s=settings.frozen_after_s,
    )
    return _read_stream(spec, patience_s) if request.is_live else _read_file(spec)


def _read_file(spec: SourceSpec) -> Frames:
    stopping, monitor = threading.Event(), SourceMonitor()
    broken = 0
    with closing(open_source(spec, stopping=stopping, monitor=monitor)) as frames:  # type: ignore[type-var]
        for frame in frames:
            before, broken = broken, monitor.report().broken
            if broken > before:
                yield None
            yield frame
        if monitor.report().broken > broken:
            yield None


def _read_stream(spec: SourceSpec, patience_s: float) -> Frames:
    reader = _StreamReader(spec)
    reader.start()
    broken: int | None = None
    try:
        while (frame := reader.newest(patience_s)) is not None:
            before, broken = broken, reader.monitor.report().broken
            if before is not None and broken > before:
                yield None
            yield frame
    finally:
        reader.stop()


class _StreamReader(threading.Thread):
    """Reads a stream and keeps its newest frame, so that whoever is slow sees what is, not what was."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(name=f"passflow {spec.masked_url}", daemon=True)
        self.monitor = SourceMonitor(stalled_after_s=spec.stalled_after_s)
        self._spec = spec
        self._stopping = threading.Event()
        self._news = threading.Condition()
        self._newest: SourceFrame | None = None
        self._error: SourceError | None = None
        self._ended = False

    def run(self) -> None:
        """Reads until it is stopped, or nothing more can come."""
        try:
            for frame in open_source(self._spec, stopping=self._stopping, monitor=self.monitor):
                self._put(frame)
                if self._stopping.is_set():
                    break
        except SourceError as e:
            self._error = e
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def newest(self, patience_s: float) -> SourceFrame | None:
        """Waits for a frame that was not given yet; ``None`` when the stream has an end.

        Raises:
            SourceError: there is none to come, or none has come for ``patience_s``.
        """
        with self._news:
            if not self._news.wait_for(lambda: self._newest is not None or self._ended, patience_s):
                raise SourceError(f"'{self._spec.masked_url}': {self._why(patience_s)}")
            if self._newest is None and self._error is not None:
                raise self._error
            frame, self._newest = self._newest, None
            return frame

    def stop(self) -> None:
        """Ends the reading; a reader that waits inside a library ends with its time limit, by itself."""
        self._stopping.set()
        self.join(_JOIN_S)

    def _put(self, frame: SourceFrame) -> None:
        with self._news:
            if self._newest is not None:
                self._newest.picture.give_up()
                frame = dataclasses.replace(frame, discontinuity=frame.discontinuity or self._newest.discontinuity)
            self._newest = frame
            self._news.notify_all()

    def _why(self, patience_s: float) -> str:
        reason = self.monitor.report().reason
        return f"no picture for {patience_s:g} s" + (f": {reason}" if reason else "")
