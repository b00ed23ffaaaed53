"""User agents whose patience is for one thing only, and what they have heard."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from streamserver.media.gb28181.dialog import Dialog
from streamserver.media.gb28181.endpoint import Exchange, Timing
from streamserver.media.gb28181.message import Response
from streamserver.media.gb28181.sdp import Offer
from streamserver.media.gb28181.user_agent import UserAgent

PATIENT = Timing(first_resend_s=60.0, answer_s=60.0, ringing_s=120.0, probe_s=60.0, goodbye_s=60.0)
"""A busy machine makes it neither give up nor say anything twice."""


class Impatient(UserAgent):
    """Waits for the answers to an INVITE as ``inviting`` says, and for all others as ``timing`` does."""

    def __init__(self, *arguments: Any, inviting: Timing, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._inviting_timing = inviting

    def invite(self, offer: Offer) -> Dialog:
        """See ``UserAgent``."""
        self.register()
        self._timing, before = self._inviting_timing, self._timing
        try:
            return super().invite(offer)
        finally:
            self._timing = before


def noticed_ringing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a user agent that has sent an INVITE knows that it rings."""
    noticed, following = threading.Event(), Exchange._next

    def next_after(self: Exchange, wait_s: float) -> Response | None:
        if self.provisional is not None:
            noticed.set()
        return following(self, wait_s)

    monkeypatch.setattr(Exchange, "_next", next_after)
    return noticed
