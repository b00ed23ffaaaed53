"""Frames for previews, and a studio that counts what it compresses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.picture import Picture
from streamserver.core.source_monitor import SourceReport
from streamserver.core.states import SourceState
from streamserver.engine.frame import Frame
from streamserver.vision.codec import encode_jpeg
from streamserver.vision.draw.places import Place
from streamserver.worker.overlay import Overlay
from streamserver.worker.studio import Studio

SIZE_WH = (320, 240)
PATIENCE_S = 60.0
STREAMING = SourceReport(state=SourceState.STREAMING)
ZONE = Place(np.array([(160, 120), (300, 120), (300, 220), (160, 220)], dtype=np.float64))


def frame(grey: int, *, channel_id: int = 0, size_wh: tuple[int, int] = SIZE_WH, **values: Any) -> Frame:
    """A frame of one grey with an object in its upper left quarter."""
    picture = Picture(size_wh, lambda: np.full((size_wh[1], size_wh[0], 3), grey, np.uint8))
    detections = Detections.from_arrays([(20, 40, 100, 110)], [0.75], [0], [5])
    return Frame(channel_id, channel_id, frame_id=grey, picture=picture, detections=detections, **values)


class Counting:
    """Compresses, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, image_bgr: ImageBgr, quality: int) -> bytes:
        self.count += 1
        return encode_jpeg(image_bgr, quality=quality)


@contextmanager
def studio(**values: Any) -> Iterator[Studio]:
    """A studio at work for two channels; the first has a zone."""
    overlays = [Overlay(channel_id=0, places=[ZONE]), Overlay(channel_id=1)]
    one = Studio(overlays, values.pop("source", lambda: STREAMING), **values)
    one.start()
    try:
        yield one
    finally:
        one.close()


def wait_for(what: Callable[[], object], label: str = "it") -> None:
    """Waits until ``what`` holds."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, f"waited in vain for {label}"
        time.sleep(0.01)


def open_descriptors() -> Mapping[int, str]:
    """What this process has open, by number."""
    found = {}
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # closed meanwhile, as that of the listing itself
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


@contextmanager
def feeding(one: Studio, *, every_s: float = 0.02) -> Iterator[None]:
    """Frames that come by again and again, brighter and darker."""
    ended = threading.Event()

    def feed() -> None:
        grey = 0
        while not ended.wait(every_s):
            grey = (grey + 10) % 200
            one.tap(frame(grey))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
