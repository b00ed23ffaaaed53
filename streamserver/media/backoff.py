"""How long to wait before something that is away is tried again, and what a crowd that waits for its turns does."""

from __future__ import annotations

import random

_LONGEST_BACKOFF_S, _SHORTEST_BACKOFF_S = 30.0, 0.1
_FIRST_CEILING_S = 1.0
_SHARE_OF_ABSENCE = 1 / 12
_LONGEST_IN_A_CROWD_S = 120.0
_FORGET, _WEIGHT = 0.9, 2.0


def backoff_s(away_s: float) -> float:
    """Seconds to wait before the next try of a stream that has been away for ``away_s``.

    Full jitter: at random between (nearly) nothing and a twelfth of the absence, at least 1 s and at most 30 s, so a
    stream that is back is found within a twelfth of the time that it was gone.
    """
    ceiling_s = min(_LONGEST_BACKOFF_S, max(_FIRST_CEILING_S, away_s * _SHARE_OF_ABSENCE))
    return max(_SHORTEST_BACKOFF_S, random.uniform(0.0, ceiling_s))


def backoff_after_refusal_s() -> float:
    """Seconds to wait after a login was refused: many cameras lock out who is refused five times in a minute."""
    return random.uniform(_LONGEST_BACKOFF_S / 2, _LONGEST_BACKOFF_S)


class Crowd:
    """Keeps the queue for turns short when more streams are away than there are turns; one for each stream.

    Who had to queue stays away longer before the next try, so that the turns are shared as before and a stream that has
    just broken off finds the queue empty. The excess adds up until it is gone: 400 dead cameras at 5 turns a second
    leave a queue of about 2 s, and without this one of 30 to 60 s.
    """

    def __init__(self) -> None:
        self._extra_s = 0.0

    def waited(self, turn_s: float) -> None:
        """One has waited ``turn_s`` for its turn."""
        self._extra_s = _FORGET * self._extra_s + _WEIGHT * turn_s

    def longer_s(self, delay_s: float, away_s: float) -> float:
        """``delay_s`` or more; if more, at most a twelfth of the time that the stream has been away."""
        longest_s = max(delay_s, min(_LONGEST_IN_A_CROWD_S, away_s * _SHARE_OF_ABSENCE))
        return min(delay_s + self._extra_s, longest_s)
