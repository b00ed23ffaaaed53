"""Live streams: they have no end, so whenever one stops, we connect again.

How a stream is read is its connector's business (``connection``); this module keeps it alive, whatever it is: back-off,
turns, states, and what counts as the same stream going on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.backoff import backoff_s
from streamserver.media.connection import Connector
from streamserver.media.pacing import TimestampPacer
from streamserver.media.sources import SourceFrame, SourceSpec

logger = logging.getLogger(__name__)

CONTINUITY_S = 5.0
"""A stream that is back within this time goes on; after a longer gap it starts over."""

_HEALTHY_S = 10.0


def connector_for(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Connector:
    """Who connects to ``spec``; what it needs is imported here.

    Raises:
        SourceMissingError: this machine has not got what it takes.
    """
    from streamserver.media.av_connection import AvConnector

    return AvConnector(spec, stopping=stopping, monitor=monitor)


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Frames of ``spec`` until ``stopping`` is set; never raises for a stream that is away.

    Frame ids start over with each connection; ``loop`` grows only when continuity is lost.

    Raises:
        SourceMissingError: there is something wrong that no further try can mend.
    """
    monitor.connecting()
    with closing(connector_for(spec, stopping=stopping, monitor=monitor)) as connector:
        stream = _Stream(spec, connector, stopping, monitor)
        while not stopping.is_set():
            reason = yield from stream.connection()
            if reason is None:
                monitor.ended()
                return
            if not stopping.is_set():
                stream.wait_before_next(reason)


class _Stream:
    """What one stream remembers from connection to connection."""

    def __init__(
        self, spec: SourceSpec, connector: Connector, stopping: threading.Event, monitor: SourceMonitor
    ) -> None:
        self._spec = spec
        self._connector = connector
        self._stopping = stopping
        self._monitor = monitor
        self._loop = -1
        self._last_frame: float | None = None
        self._away_since: float | None = None
        self._last_reason = ""

    def connection(self) -> Generator[SourceFrame, None, str | None]:
        """The frames of one connection; the generator's value is why it ended, ``None`` for the source's own end."""
        since: float | None = None
        try:
            with closing(self._connector.connect()) as connection:
                pacer = TimestampPacer(self._stopping) if self._spec.paced and connection.in_bursts else None
                for frame_id, decoded in enumerate(connection.pictures()):
                    if pacer is not None:
                        pacer.wait(decoded.time_s)
                    if self._stopping.is_set():
                        return ""
                    now = time.monotonic()
                    broken = frame_id == 0 and self._started(now, connection.stream)
                    since = since or now
                    self._last_frame = now
                    self._monitor.picture()
                    yield SourceFrame(
                        frame_id, self._loop, time.time_ns() // 1000, discontinuity=broken, picture=decoded.picture
                    )
                if connection.over:
                    return None
                reason = "the stream ended"
        except SourceMissingError:
            raise
        except SourceError as e:
            reason = e.message
        if since is not None and time.monotonic() - since >= _HEALTHY_S:
            self._away_since = None
        return reason

    def wait_before_next(self, reason: str) -> None:
        """Says why the stream is away, and waits; a reason that repeats itself is logged once."""
        now = time.monotonic()
        self._away_since = self._away_since or now
        delay_s = backoff_s(now - self._away_since)
        self._monitor.reconnecting(reason)
        level = logging.DEBUG if reason == self._last_reason else logging.WARNING
        logger.log(level, "%s: %s; connecting again in %.1f s", self._spec.masked_url, reason, delay_s)
        self._last_reason = reason
        self._stopping.wait(delay_s)

    def _started(self, now: float, stream: str) -> bool:
        """The first frame of a connection has come; True if continuity is lost."""
        self._monitor.streaming(stream)
        self._last_reason = ""
        lost = self._last_frame is None or now - self._last_frame > CONTINUITY_S
        self._loop += lost
        logger.info("%s: streaming %s", self._spec.masked_url, stream)
        return lost
