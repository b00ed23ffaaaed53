"""A stream that a device sends us, from its answer to our INVITE until one of us hangs up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamserver.media.gb28181.message import Request
from streamserver.media.gb28181.sdp import Answer
from streamserver.media.gb28181.writer import Call

HUNG_UP = "the stream was hung up by this server"


class Dialog:
    """One stream.

    Attributes:
        answer: what the device sends, and from where.
        call: names the dialog.
        ack: our acknowledgement, to be sent again when the answer comes again.
        playback: a recording, which has an end.
    """

    def __init__(
        self, call: Call, answer: Answer, *, ack: Request, playback: bool, hang_up: Callable[[Call], None]
    ) -> None:
        self.call = call
        self.answer = answer
        self.ack = ack
        self.playback = playback
        self._hang_up = hang_up
        self._lock = threading.Lock()
        self._ended: str | None = None
        self._gone = False

    @property
    def ended(self) -> str | None:
        """``None`` while it runs; empty when the recording has been sent to its end; otherwise why it is over."""
        return self._ended

    def is_over(self, reason: str, *, gone: bool) -> None:
        """It sends no more; the first reason counts.

        Args:
            reason: see ``ended``.
            gone: the platform has forgotten the call, or cannot be reached: there is nobody to say BYE to.
        """
        with self._lock:
            self._gone = self._gone or gone
            if self._ended is None:
                self._ended = reason

    def bye(self) -> None:
        """Hangs up and waits a moment for the answer; more than once."""
        with self._lock:
            gone, self._gone = self._gone, True
        self.is_over(HUNG_UP, gone=True)
        if not gone:
            self._hang_up(self.call)
