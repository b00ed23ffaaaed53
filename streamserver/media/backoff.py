"""How long to wait before something that is away is tried again."""

from __future__ import annotations

import random

_LONGEST_BACKOFF_S, _SHORTEST_BACKOFF_S = 30.0, 0.1
_FIRST_CEILING_S = 1.0
_SHARE_OF_ABSENCE = 1 / 8


def backoff_s(away_s: float) -> float:
    """Seconds to wait before the next try of a stream that has been away for ``away_s``.

    Full jitter: at random between (nearly) nothing and an eighth of the absence, at least 1 s and at most 30 s, so a
    stream that is back is found within an eighth of the time that it was gone.
    """
    ceiling_s = min(_LONGEST_BACKOFF_S, max(_FIRST_CEILING_S, away_s * _SHARE_OF_ABSENCE))
    return max(_SHORTEST_BACKOFF_S, random.uniform(0.0, ceiling_s))
