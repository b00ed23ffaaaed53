"""Finds a camera that hangs and shows the same picture for ever, while its connection is well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamserver.media.connection import Luma

CHECK_INTERVAL_S = 1.0
"""How often pictures are compared; a comparison costs about as much as a hundredth of decoding a picture."""

SAME_WITHIN = 15
"""The same picture: no pixel's brightness (0 to 255) is further off than this.

Measured on clips that x264 and x265 compressed anew: a still with key frames stays within 2 to 12, and at rates that
are far too low for its size within 37; the quietest parts of real scenes differ by 19 or more within a minute.
"""


class FrozenWatch:
    """Says for how long a stream has shown the same picture, over all its connections.

    Args:
        frozen_after_s: the same picture for so long is a frozen camera; 0 to look at nothing.
    """

    def __init__(self, frozen_after_s: float) -> None:
        self._frozen_after_s = frozen_after_s
        self._picture: Luma | None = None
        self._since = 0.0
        self._next_check = 0.0

    def same_for_s(self, now: float, luma: Callable[[], Luma]) -> float | None:
        """Looks at a picture when it is time.

        Args:
            now: the monotonic clock.
            luma: the picture's brightness; asked for about once a second.

        Returns:
            0.0 while the pictures change, else for how many seconds they have been frozen: at least
            ``frozen_after_s``. ``None`` if it is not time to look.
        """
        if not self._frozen_after_s or now < self._next_check:
            return None
        self._next_check = now + CHECK_INTERVAL_S
        picture = luma()
        if self._picture is None or not is_same(self._picture, picture):
            self._picture, self._since = picture, now
        same_s = now - self._since
        return same_s if same_s >= self._frozen_after_s else 0.0

    def look_at_next(self) -> None:
        """The next picture is compared in any case: a new connection may show another one."""
        self._next_check = 0.0


def is_same(one: Luma, other: Luma) -> bool:
    """True if two pictures differ by no more than what compressing one of them anew does."""
    if one.shape != other.shape:
        return False
    apart = np.maximum(one, other) - np.minimum(one, other)
    return not apart.size or int(apart.max()) <= SAME_WITHIN
