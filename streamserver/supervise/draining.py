"""What becomes of tasks that are over (finished, failed or deleted): their alarms are delivered first.

The client that runs has ``drain_timeout_s`` for it; what is left then, or when it dies, is the courier's. A task is
drained when ``run/drained`` says so, or when it never had an outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamserver.core.leftovers import Drained, mark_drained, note_letters, read_letters
from streamserver.core.settings import Settings
from streamserver.supervise.courier import CourierKeeper
from streamserver.supervise.group import Group
from streamserver.supervise.policy import Role, reason_of

_COURIER_LOOK_S = 1.0
"""How often it is looked whether the courier has drained a task."""

_REST_LOOK_S = 2.0
"""How often it is looked whether a drained task still is, for letters may be replayed; at random up to twice that."""

_LETTERS_NOTE_S = 600.0
"""How often it is written down for how long dead letters are still kept: a restart gives them at most so much more."""

_log = logging.getLogger(__name__)


class Draining:
    """See the module; used by the supervisor's loop alone.

    Args:
        settings: the server's settings.
        courier: delivers for tasks without processes.
        random: a number from 0 to 1.
    """

    def __init__(self, settings: Settings, courier: CourierKeeper, random: Callable[[], float]) -> None:
        self._settings = settings
        self._courier = courier
        self._random = random

    def begin(self, group: Group, now: float) -> None:
        """The task is over: its engine ends, its client delivers."""
        group.end_engine(kill_at=now + self._settings.stop_timeout_s)
        group.drain_client(now)
        group.drain_until = now + self._settings.drain_timeout_s

    def advance(self, group: Group, now: float) -> Drained | None:
        """Goes on seeing off; what is left to know once no process runs and nothing waits, ``None`` before that."""
        for exited in group.exits:
            if exited.role is Role.CLIENT and exited.done:
                _mark(group)
        if group.members:
            self._urge(group, now)
            return None
        key = group.record.key
        drained = group.drained()
        if drained is None:
            if self._courier.take(key):
                group.hear_last()
                _log.info("%s: the courier delivers what waits", group.name)
            group.idle_until = now + _COURIER_LOOK_S
            return None
        self._courier.release(key)
        group.hear_last()
        group.idle_until = now + _REST_LOOK_S * (1.0 + self._random())
        return drained

    def may_go(self, group: Group, drained: Drained, now: float) -> bool:
        """Whether a deleted, drained task holds nothing that could still be wanted.

        Dead letters are kept for ``retention_h`` of supervision, which is counted on the monotonic clock and noted in
        the folder: neither a step of the wall clock nor a restart takes or keeps anybody's letters.
        """
        if drained.dead <= 0:
            return True
        if group.letters_until is None:
            group.letters_until = now + read_letters(group.folder, self._settings.retention_h * 3600)
        if now >= group.letters_until:
            return True
        if now >= group.letters_note_at:
            group.letters_note_at = now + _LETTERS_NOTE_S
            try:
                note_letters(group.folder, group.letters_until - now)
            except OSError as e:
                _log.warning("%s: it cannot be noted how long its dead letters are kept: %s", group.name, e)
        return False

    def _urge(self, group: Group, now: float) -> None:
        if now >= group.drain_until:
            group.end_all(kill_at=now + self._settings.stop_timeout_s)
        hang = group.hang(
            now, start_timeout_s=self._settings.start_timeout_s, silence_s=self._settings.heartbeat_timeout_s
        )
        if hang is not None:
            _log.warning("%s: %s", group.name, reason_of(hang))
            group.abort(hang.role, now)


def _mark(group: Group) -> None:
    try:
        mark_drained(group.folder, Drained())
    except OSError as e:
        _log.warning("%s: it cannot be noted that all is delivered: %s", group.name, e)
