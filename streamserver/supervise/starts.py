"""Who starts next, and how many at a time: a thousand tasks after a reboot must not take the cores from those that run.

What the user asked for since the supervisor started goes before what is started again; otherwise whoever is due first
is first.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamserver.core.states import TaskState
from streamserver.supervise.group import Group

WAITS = "waits for its turn: other tasks are starting"
"""The reason of a task that has to."""

_START_WEIGHT_S = 15.0
"""A start that takes longer than this waits for something else than a core, and makes room for the next."""

_TELL_AFTER_S = 1.0
"""Who waits for less is not told of: it would only be written to be wiped out."""


class StartQueue:
    """See the module; used by the supervisor's loop alone. Times are monotonic seconds.

    Args:
        most: so many groups take their first steps at a time.
        a_round: so many begin in one round of the loop, for who starts does not count as starting before the next.
    """

    def __init__(self, *, most: int, a_round: int) -> None:
        self._most = most
        self._a_round = a_round
        self._chosen: list[Group] = []

    def choose(self, groups: Iterable[Group], now: float) -> None:
        """Decides whose turn is now; the others' reasons say that they wait."""
        waiting, starting = [], 0
        for group in groups:
            if group.is_young(now, _START_WEIGHT_S):
                starting += 1
            elif group.state in (TaskState.PENDING, TaskState.BACKOFF) and group.is_due(now):
                waiting.append(group)
        free = max(0, min(self._a_round, self._most - starting))
        waiting.sort(key=lambda group: (not group.asked_for, group.start_at))
        self._chosen = waiting[:free]
        for group in waiting[free:]:
            _tell(group, now)

    def is_turn_of(self, group: Group) -> bool:
        """Whether it may start in this round."""
        return any(group is chosen for chosen in self._chosen)


def _tell(group: Group, now: float) -> None:
    """Of one that was started before, why it has to start again is worth more."""
    if group.state is TaskState.PENDING and now - group.start_at >= _TELL_AFTER_S and WAITS not in group.reason:
        group.reason, group.saved = "; ".join(filter(None, (group.reason, WAITS))), False
