"""What a source tells of itself while it is read: written by its reader's thread, read by the heartbeat's."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamserver.core.states import SourceState

OnState = Callable[[SourceState, str], None]
"""Told each time the reader says what the source does, and why, also when it says the same again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """How a source does now.

    Attributes:
        state: what it does.
        reason: why it does not stream, in words without secrets; empty when all is well.
        age_s: seconds since the state began.
        frame_age_s: seconds since the last picture; ``None`` before the first.
        connects: connections that gave a picture.
        reconnects: those of them after the first.
        reconnect_reasons: the same by why the one before was lost (``counters.RECONNECT_REASONS``).
        stalls: how often pictures stayed away, or stayed the same, while the connection stood.
        broken: packets that were lost, or that could not be decoded and were left out.
        stream: what is read, in words: ``h264 1920x1080 25 fps``; empty before it is known.
        gate: ``open`` or ``idle`` behind a motion gate; empty without one.
    """

    state: SourceState = SourceState.NONE
    reason: str = ""
    age_s: float = 0.0
    frame_age_s: float | None = None
    connects: int = 0
    stalls: int = 0
    broken: int = 0
    stream: str = ""
    gate: str = ""
    reconnect_reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def reconnects(self) -> int:
        """Connections that gave a picture, after the first."""
        return max(0, self.connects - 1)


class SourceMonitor:
    """Keeps a source's state and counts.

    Args:
        on_state: told each time, in the reader's thread.
        stalled_after_s: a stream without a picture for so long is reported as stalled; infinite for files.
        clock: the monotonic clock.

    Attributes:
        alive_at: when the reader last said anything but that a picture has come.
    """

    def __init__(
        self,
        on_state: OnState | None = None,
        *,
        stalled_after_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stalled_after_s = stalled_after_s
        self._on_state = on_state
        self._clock = clock
        self._lock = threading.Lock()
        self._state = SourceState.NONE
        self._reason = ""
        self._since = self.alive_at = clock()
        self._last_frame: float | None = None
        self._last_sign = self._since
        self._connects = self._stalls = self._broken = 0
        self._stream = ""
        self._gate = ""
        self._lost_for = ""
        self._reasons: Counter[str] = Counter()

    def connecting(self) -> None:
        """The source is opened for the first time."""
        self._change(SourceState.CONNECTING, "")

    def streaming(self, stream: str = "", *, connected: bool = True) -> None:
        """Pictures come, the first of a connection unless ``connected`` is False.

        Args:
            stream: what is read, in words; empty to leave what is known.
            connected: False where an old connection has come to life again.
        """
        with self._lock:
            self._count_connection(connected)
            self._stream = stream or self._stream
            self._last_sign = self._clock()
        self._change(SourceState.STREAMING, "")

    def picture(self) -> None:
        """A picture has come."""
        now = self._clock()
        with self._lock:
            if self._overdue_s(now) is not None:
                self._stalls += 1
                self._since = now
            self._last_frame = self._last_sign = now

    def resting(self) -> None:
        """A packet has come that is not decoded, because nothing moves."""
        with self._lock:
            self._last_sign = self._clock()

    def gate(self, *, is_open: bool) -> None:
        """There is a motion gate, and it is open (everything is decoded) or idle (key frames only)."""
        self._gate = "open" if is_open else "idle"

    def stalled(self, reason: str, *, stream: str = "", connected: bool = False) -> None:
        """The connection stands, and what comes is of no use: always the same picture.

        Args:
            reason: in words.
            stream: what is read, in words; empty to leave what is known.
            connected: whether this is a new connection, on which the same stall goes on.
        """
        with self._lock:
            self._count_connection(connected)
            self._stalls += self._state is not SourceState.STALLED and not connected
            self._stream = stream or self._stream
        self._change(SourceState.STALLED, reason)

    def reconnecting(self, reason: str, *, ended: bool = False) -> None:
        """The connection has ended, or did not come about; it is tried again.

        Args:
            reason: in words.
            ended: the other side has ended the stream, as it may.
        """
        with self._lock:
            overdue = self._overdue_s(self._clock()) is not None
            self._stalls += overdue
            frozen = self._state is SourceState.STALLED
            why = "frozen" if frozen else "stalled" if overdue else "ended" if ended else "lost"
            self._lost_for = self._lost_for or why
        self._change(SourceState.RECONNECTING, reason)

    def ended(self) -> None:
        """Nothing more comes, and nothing is wrong."""
        self._change(SourceState.ENDED, "")

    def alive(self) -> None:
        """The reader has waited, as long as it meant to."""
        self.alive_at = self._clock()

    def broken(self, packets: int = 1) -> None:
        """Packets were lost or left out."""
        with self._lock:
            self._broken += packets

    def report(self) -> SourceReport:
        """How it does now; a stream without a picture for ``stalled_after_s`` is stalled."""
        now = self._clock()
        with self._lock:
            overdue_s = self._overdue_s(now)
            state, reason, since, stalls = self._state, self._reason, self._since, self._stalls
            if overdue_s is not None:
                state, reason = SourceState.STALLED, f"no picture for {now - self._last_sign:.0f} s"
                since, stalls = now - overdue_s, stalls + 1
            return SourceReport(
                state=state,
                reason=reason,
                age_s=now - since,
                frame_age_s=None if self._last_frame is None else now - self._last_frame,
                connects=self._connects,
                stalls=stalls,
                broken=self._broken,
                stream=self._stream,
                gate=self._gate,
                reconnect_reasons=dict(self._reasons),
            )

    def _count_connection(self, connected: bool) -> None:
        """A connection gives pictures; the reason is the first there was since one did. Under the lock."""
        if connected and self._connects:
            self._reasons[self._lost_for or "lost"] += 1
        self._connects += connected
        self._lost_for = ""

    def _overdue_s(self, now: float) -> float | None:
        """For how long a streaming source counts as stalled; ``None`` if it does not. Under the lock."""
        if self._state is not SourceState.STREAMING:
            return None
        overdue_s = now - self._last_sign - self.stalled_after_s
        return overdue_s if overdue_s > 0 else None

    def _change(self, state: SourceState, reason: str) -> None:
        self.alive()
        with self._lock:
            if state is not self._state:
                self._since = self._clock()
            self._state, self._reason = state, reason
        if self._on_state is not None:
            self._on_state(state, reason)
