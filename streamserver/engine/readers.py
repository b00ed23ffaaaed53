"""Readers: one thread for each source, feeding every channel that wants it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

from streamserver.core.source_monitor import SourceMonitor
from streamserver.engine.element import ReadFrame
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.node import SourceNode
from streamserver.graph.demo import Channel

OpenFrames = Callable[[SourceMonitor], Iterator[ReadFrame]]


class Subscription:
    """One channel's share of a source: samples it and feeds the channel's graph.

    Args:
        channel: with its ``sample_interval`` and ``sample_strategy``.
        node: where the channel enters its graph.
    """

    def __init__(self, channel: Channel, node: SourceNode) -> None:
        self.channel = channel
        self.node = node
        self.dropped = 0
        self._interrupted = False
        self._was_late = False

    def offer(self, read: ReadFrame) -> bool:
        """Passes on a frame that ``sample_interval`` keeps; marks or leaves out the others.

        For a late frame there is room in time, and none is left out for it, nor for the first that is not late.

        Returns:
            whether the frame was passed on.
        """
        kept = read.at_rest or read.frame_id % self.channel.sample_interval == 0
        self._interrupted = self._interrupted or read.discontinuity
        if not kept and self.channel.sample_strategy != "KEEP":
            return False
        frame = self._frame(read)
        if kept:
            frame.discontinuity, self._interrupted = self._interrupted, False
        frame.skipped = not kept
        newest_wins = self.channel.newest_wins and not (read.late or self._was_late)
        self._was_late = read.late
        left_out = self.node.put(frame, newest_wins=newest_wins)
        self.dropped += sum(not older.skipped for older in left_out)
        return True

    def end(self) -> None:
        """No frame follows on this channel."""
        last = Frame(
            self.channel.channel_id,
            self.channel.graph_id,
            frame_id=0,
            end_of_stream=True,
            port=self.node.source_port,
        )
        self.node.put(last, newest_wins=False)

    def _frame(self, read: ReadFrame) -> Frame:
        return Frame(
            self.channel.channel_id,
            self.channel.graph_id,
            frame_id=read.frame_id,
            loop=read.loop,
            timestamp_us=read.timestamp_us,
            clock_s=read.clock_s,
            picture=read.picture,
            port=self.node.source_port,
        )


class Reader:
    """Reads one source in a thread of its own.

    Every channel gets each frame before the next one is read: of a file, the slowest channel sets the pace.

    Args:
        label: what it is called in messages.
        open_frames: starts reading; is told whom to tell how the source does.
        subscriptions: the channels of this source.
        flow: shared with all nodes of the engine.
        stalled_after_s: a source without a frame for so long is reported as stalled.

    Attributes:
        monitor: how the source does.
    """

    def __init__(
        self,
        label: str,
        *,
        open_frames: OpenFrames,
        subscriptions: list[Subscription],
        flow: Flow,
        stalled_after_s: float = math.inf,
    ) -> None:
        self.label = label
        self.subscriptions = subscriptions
        self.monitor = SourceMonitor(stalled_after_s=stalled_after_s)
        self.loop = 0
        self._asked_at: float | None = None
        self.thread = threading.Thread(target=self._run, name=label, daemon=True)
        self._open_frames = open_frames
        self._flow = flow

    @property
    def reading_since(self) -> float | None:
        """Since when the source has given neither a frame nor a sign of life; ``None`` while others have the frame."""
        asked_at = self._asked_at
        return None if asked_at is None else max(asked_at, self.monitor.alive_at)

    @property
    def processed(self) -> int:
        """Frames that were processed; of several channels, by the one that has processed most."""
        return max(sub.node.processed.get(sub.channel.channel_id, 0) for sub in self.subscriptions)

    @property
    def dropped(self) -> int:
        """Live frames that were left out because the engine was busy, of the channel that lost most."""
        return max(sub.dropped for sub in self.subscriptions)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as e:  # noqa: BLE001 - the engine's loop: whatever a source raises ends the process
            self._flow.fail(self.label, e)
        finally:
            self._asked_at = None
            self._flow.done()

    def _read(self) -> None:
        self._asked_at = time.monotonic()
        for read in self._open_frames(self.monitor):
            self._asked_at = None
            self.loop = read.loop
            takers = sum(subscription.offer(read) for subscription in self.subscriptions)
            if not takers:
                read.picture.give_up()
            if self._flow.stopping.is_set():
                return
            self._asked_at = time.monotonic()
        if self._flow.stopping.is_set():
            return
        self.monitor.ended()
        for subscription in self.subscriptions:
            subscription.end()
