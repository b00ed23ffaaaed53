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
        part_of: the picture that ``load_bgr`` cuts this one from; given up together with this one.
    """

    def __init__(
        self, size_wh: tuple[int, int], load_bgr: Callable[[], ImageBgr], *, part_of: Picture | None = None
    ) -> None:
        self.size_wh = size_wh
        self._load_bgr: Callable[[], ImageBgr] | None = load_bgr
        self._part_of = part_of
        self._bgr: ImageBgr | None = None
        self._lock = threading.Lock()

    @property
    def bgr(self) -> ImageBgr:
        """The pixels; shared by all who ask, so nobody writes into them.

        Raises:
            RuntimeError: the picture was given up.
        """
        with self._lock:
            if self._bgr is None:
                if self._load_bgr is None:
                    raise RuntimeError("the pixels of a picture were asked for after it was given up")
                self._bgr = self._load_bgr()
                self._load_bgr = None
            return self._bgr

    @property
    def given_up(self) -> bool:
        """Nobody will ask for the pixels."""
        return self._load_bgr is None and self._bgr is None

    def give_up(self) -> None:
        """Says that nobody will ask for the pixels: a decoder that must convert before it goes on need not."""
        with self._lock:
            self._load_bgr = None
        if self._part_of is not None:
            self._part_of.give_up()
