"""The outbox of a client, opened as soon as it can be and looked after beside the heartbeat."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from streamserver.core.errors import StoreError
from streamserver.core.status import BEAT_INTERVAL_S
from streamserver.outbox.box import NewEvent, Outbox
from streamserver.outbox.records import Memory

_log = logging.getLogger(__name__)

HANGS_AFTER_S = 300.0
"""Mending or copying a large file takes a while; longer than this is a hang."""

TELL_S = 60.0
"""Longer than an engine offers a frame again."""

_OPEN_AGAIN_S = 1.0


class TendedOutbox:
    """Takes alarms for an outbox, also while that cannot be opened: then it refuses them, and tries again.

    A full disk or a file that somebody else owns is no reason for a client that starts, fails and starts again.

    Args:
        open_box: opens the outbox, or raises ``StoreError``.
        on_open: called once, with the outbox.
        on_change: called when another process has changed it.
    """

    def __init__(
        self, open_box: Callable[[], Outbox], *, on_open: Callable[[Outbox], None], on_change: Callable[[], None]
    ) -> None:
        self.box: Outbox | None = None
        self._problem = ""
        self._refused = ("", float("-inf"))
        self._open_box = open_box
        self._on_open = on_open
        self._on_change = on_change
        self._round_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def open(self) -> bool:
        """Tries to open it; False, with the reason in ``problem``, when that fails."""
        try:
            box = self._open_box()
        except StoreError as e:
            if str(e) != self._problem:
                _log.error("alarms cannot be kept: %s", e)
            self._problem = str(e)
            return False
        self.box, self._problem = box, ""
        self._on_open(box)
        return True

    def start(self) -> None:
        """Begins to look after it."""
        self._round_at = time.monotonic()
        self._thread.start()

    @property
    def tended(self) -> bool:
        """True once ``start`` was called."""
        return self._thread.ident is not None

    def add(self, events: Sequence[NewEvent], memory: Memory | None = None) -> int:
        """As ``Outbox.add``; raises ``StoreError`` while there is no outbox."""
        box = self._open_one()
        try:
            added = box.add(events, memory)
        except StoreError as e:
            self._refused = (str(e), time.monotonic())
            raise
        self._refused = ("", float("-inf"))
        return added

    def recall(self, algorithm: int) -> Memory | None:
        """As ``Outbox.recall``; raises ``StoreError`` while there is no outbox."""
        return self._open_one().recall(algorithm)

    @property
    def problem(self) -> str:
        """Why alarms cannot be kept, in words; a refusal is told for ``TELL_S``. Empty when all is well."""
        text, at = self._refused
        return self._problem or (text if time.monotonic() - at < TELL_S else "")

    @property
    def hangs(self) -> bool:
        """True when looking after it has not come back for ``HANGS_AFTER_S``."""
        return time.monotonic() - self._round_at > HANGS_AFTER_S and not self._stopping.is_set()

    def stop(self, timeout_s: float) -> None:
        """Ends the thread; one that is busy for longer than ``timeout_s`` is left."""
        self._stopping.set()
        if self.tended:
            self._thread.join(timeout_s)

    def _open_one(self) -> Outbox:
        if self.box is None:
            raise StoreError(self._problem or "the outbox is not open yet")
        return self.box

    def _run(self) -> None:
        while not self._stopping.wait(BEAT_INTERVAL_S if self.box is not None else _OPEN_AGAIN_S):
            self._round_at = time.monotonic()
            try:
                self._round()
            except Exception as e:  # noqa: BLE001  the thread must outlive whatever one round brings
                _log.exception("unexpected error in the outbox's upkeep")
                self._problem = repr(e)

    def _round(self) -> None:
        if self.box is None:
            self.open()
            return
        try:
            if self.box.maintain():
                self._on_change()
            self._problem = ""
        except StoreError as e:
            self._problem = str(e)
