"""Live streams: they have no end, so whenever one stops, we connect again.

How a stream is read is its connector's business (``connection``); this module keeps it alive, whatever it is: back-off,
turns, states, and what counts as the same stream going on.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing

from streamserver.core.errors import LoginRefusedError, SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import has_end
from streamserver.media.backoff import Crowd, backoff_after_refusal_s, backoff_s
from streamserver.media.connection import Connection, Connector, Decoded, Moment
from streamserver.media.frozen import FrozenWatch
from streamserver.media.pacing import DEFAULT_RATE, TimestampPacer
from streamserver.media.pyav import require_av
from streamserver.media.source_clock import SourceClock
from streamserver.media.sources import SourceFrame, SourceSpec
from streamserver.media.turnstile import Turnstile

logger = logging.getLogger(__name__)

CONTINUITY_S = 5.0
"""A stream that is back within this time goes on; after a longer gap it starts over."""

_ENDED = "the server ended the stream"

_HEALTHY_S = 10.0
"""A stream that has given pictures for so long is well, however long it was away before."""

_LONGEST_PATIENCE_S = 1800.0
"""A camera that stays frozen is connected anew at least so often; before, the time doubles with each try."""

_MOST_REASONS = 10
"""So many reasons of one absence are logged: a server may word each of its refusals differently."""

_NUMBERS = re.compile(r"\d+")


def connector_for(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Connector:
    """Who connects to ``spec``; what it needs is imported here.

    Raises:
        SourceMissingError: this machine has not got what it takes.
    """
    if spec.source_type == "GB28181":
        from streamserver.media.gb28181.connector import Gb28181Connector

        return Gb28181Connector(spec, stopping=stopping, monitor=monitor)
    if spec.decoder == "opencv":
        spec.warn_of_no_gate("OpenCV tells nothing of packets")
        from streamserver.media.opencv_connection import OpenCvConnector

        return OpenCvConnector(spec, stopping=stopping, monitor=monitor)
    require_av(spec.masked_url)
    from streamserver.media.av_connection import AvConnector

    return AvConnector(spec, stopping=stopping, monitor=monitor)


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Frames of ``spec`` until ``stopping`` is set; never raises for a stream that is away.

    Frame ids start over with each connection, and behind a motion gate count the frames that were not decoded, too;
    ``loop`` grows only when continuity is lost.

    Raises:
        SourceMissingError: there is something wrong that no further try can mend.
    """
    monitor.connecting()
    turnstile = Turnstile(spec.turnstile, spec.connects_per_s)
    with closing(connector_for(spec, stopping=stopping, monitor=monitor)) as connector:
        stream = _Stream(spec, connector, stopping, monitor)
        while stream.wait_for_turn(turnstile):
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
        self._watch = FrozenWatch(0.0 if has_end(spec.url) else spec.frozen_after_s)
        self._recorded = SourceClock() if has_end(spec.url) else None
        self._loop = -1
        self._last_frame: float | None = None
        self._clock_s = 0.0
        self._away_since: float | None = None
        self._told: set[str] = set()
        self._frozen = False
        self._login_refused = False
        self._patience_s = 0.0
        self._crowd = Crowd()

    def wait_for_turn(self, turnstile: Turnstile) -> bool:
        """Waits until it may connect; False if it is not wanted any more."""
        began = time.monotonic()
        wanted = turnstile.wait(self._stopping)
        self._crowd.waited(time.monotonic() - began)
        self._monitor.alive()
        return wanted

    def connection(self) -> Generator[SourceFrame, None, str | None]:
        """The frames of one connection; the generator's value is why it ended, ``None`` for the source's own end."""
        since: float | None = None
        self._login_refused = False
        try:
            with closing(self._connector.connect()) as connection:
                for frame in self._frames(connection):
                    since = since or time.monotonic()
                    yield frame
                if connection.over:
                    return None
                reason = _ENDED
        except SourceMissingError:
            raise
        except SourceError as e:
            reason = str(e)  # with its cure: this is what the operator reads
            self._login_refused = isinstance(e, LoginRefusedError)
        if since is not None:
            self._make_good(time.monotonic(), since)
        return reason

    def _make_good(self, now: float, since: float) -> None:
        """Takes the time since ``since``, for which pictures came, off that for which the stream counts as away.

        So one that comes and goes is followed closely, and one that gives a picture and ends is tried ever more rarely.
        """
        if now - since >= _HEALTHY_S:
            self._away_since = None
        elif self._away_since is not None:
            self._away_since = min(now, self._away_since + 2 * (now - since))

    def wait_before_next(self, reason: str) -> None:
        """Says why the stream is away, and waits; of one absence each reason is logged once, and not too many."""
        now = time.monotonic()
        self._away_since = self._away_since or now
        away_s = now - self._away_since
        delay_s = backoff_after_refusal_s() if self._login_refused else backoff_s(away_s)
        delay_s = self._crowd.longer_s(delay_s, away_s)
        self._monitor.reconnecting(reason, ended=reason == _ENDED)
        told = _NUMBERS.sub("", reason)  # "no picture for 11 s" is no other than "for 10 s"
        level = logging.DEBUG if told in self._told or len(self._told) >= _MOST_REASONS else logging.WARNING
        if level > logging.DEBUG:
            self._told.add(told)
        logger.log(level, "%s: %s; connecting again in %.1f s", self._spec.masked_url, reason, delay_s)
        self._stopping.wait(delay_s)
        self._monitor.alive()

    def _frames(self, connection: Connection) -> Iterator[SourceFrame]:
        """The frames of ``connection`` until it breaks off, or is given up for being frozen (``SourceError``)."""
        pacer = TimestampPacer(self._stopping) if self._spec.paced and connection.in_bursts else None
        size_wh: tuple[int, int] | None = None
        began = 0.0
        if self._recorded is not None:
            self._recorded.new_loop()
        for number, decoded in enumerate(connection.pictures()):
            if pacer is not None:
                pacer.wait(decoded.time_s)
            if self._stopping.is_set():
                return
            now = time.monotonic()
            began = began or now
            lost = number == 0 and self._continuity_lost(now)
            other_size, size_wh = size_wh != decoded.picture.size_wh, decoded.picture.size_wh
            frozen = self._look(decoded, now, connection.stream if other_size else "", first=number == 0)
            self._last_frame = now
            moment = decoded.moment or Moment(number, now)
            came = now if pacer is not None else moment.arrived
            self._clock_s = max(self._clock_s, came)
            yield SourceFrame(
                moment.number,
                self._loop,
                time.time_ns() // 1000 - round((now - came) * 1e6),
                self._clock_s if self._recorded is None else self._recorded.at(decoded.time_s, rate=DEFAULT_RATE),
                discontinuity=lost,
                picture=decoded.picture,
                late=moment.late and pacer is None,
                at_rest=moment.at_rest,
            )
            if frozen and now - began >= self._patience_s:
                self._patience_s = min(_LONGEST_PATIENCE_S, max(self._spec.frozen_after_s, 2 * self._patience_s))
                raise SourceError(frozen)

    def _look(self, decoded: Decoded, now: float, stream: str, *, first: bool) -> str:
        """Tells the monitor of a picture; returns for how long it has been the same one, in words.

        Args:
            decoded: the picture.
            now: the monotonic clock.
            stream: what is read, in words, where that is not known yet; else empty.
            first: whether it is the first picture of a connection.
        """
        if stream:
            self._watch.look_at_next()
            logger.info("%s: streaming %s", self._spec.masked_url, stream)
        same_s = self._watch.same_for_s(now, decoded.luma)
        frozen = f"the same picture for {same_s:.0f} s" if same_s else ""
        if frozen:
            self._monitor.stalled(frozen, stream=stream, connected=first)
        elif stream or (self._frozen and same_s is not None):
            self._monitor.streaming(stream, connected=first)
        if same_s is not None:
            self._frozen = bool(frozen)
            self._patience_s *= self._frozen
        self._monitor.picture()
        return frozen

    def _continuity_lost(self, now: float) -> bool:
        """The first frame of a connection has come; True if it is the beginning of another loop."""
        self._told.clear()
        lost = self._last_frame is None or now - self._last_frame > CONTINUITY_S
        self._loop += lost
        return lost
