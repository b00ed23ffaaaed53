"""A frame's pixels, converted to BGR only when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamserver.core.arrays import ImageBgr


class Picture:
    """A frame's pixels, converted to BGR when somebody first asks and kept from then on.

    Several graphs may look at one picture, so the first question is asked under a lock.

    Args:
        size_wh: width and height in pixels.
        load_bgr: makes the array of shape (height, width, 3); called at most once and dropped afterwards, with
            whatever it holds (the decoder's own frame).
    """

    def __init__(self, size_wh: tuple[int, int], load_bgr: Callable[[], ImageBgr]) -> None:
        self.size_wh = size_wh
        self._load_bgr: Callable[[], ImageBgr] | None = load_bgr
        self._bgr: ImageBgr | None = None
        self._lock = threading.Lock()

    @property
    def bgr(self) -> ImageBgr:
        """The pixels; shared by all who ask, so nobody writes into them."""
        with self._lock:
            if self._bgr is None:
                assert self._load_bgr is not None
                self._bgr = self._load_bgr()
                self._load_bgr = None
            return self._bgr
