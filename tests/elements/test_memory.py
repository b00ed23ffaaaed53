"""What elements remember does not grow with the frames they have seen: things come and go, 24,000 frames long."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.bytetrack import ByteTrack
from streamserver.elements.converger import Converger
from streamserver.elements.distributor import Distributor
from streamserver.elements.filter import Filter
from streamserver.engine.element import Element, ElementContext
from streamserver.engine.frame import Frame
from tests.searching import SEARCHING

FRAMES = 400_000 if SEARCHING else 24_000
"""Enough that what is forgotten to be forgotten is seen: half of them are compared with the other half."""

TRACED = 2_000
"""Of these at the end, all memory of the process is watched; of the others, what hangs on the element."""

WARM_UP = 8_000
"""Frames after which everything that is remembered for a time has been forgotten once."""

ALLOWED_BYTES = 20_000
"""Ten bytes for each traced frame; an object that is forgotten to be forgotten takes at least 40."""

Feed = Callable[[int], None]
_PICTURE = Picture((64, 64), lambda: np.zeros((64, 64, 3), np.uint8))


def context(name: str, configure: dict[str, Any], base_dir: Path = Path()) -> ElementContext:
    return ElementContext(
        element_id=1, name=name, config_file="t.json", configure=configure, settings=Settings(), base_dir=base_dir
    )


def frame_of(number: int, detections: Detections) -> Frame:
    return Frame(number % 2, 0, number // 2, sequence=number // 2, picture=_PICTURE, detections=detections)


def in_a_crowd(number: int) -> bool:
    """A quiet street, where now and then for 48 frames of both channels something goes on."""
    return number % 960 < 96


def swallow(frame: Frame, *, port: int | None = None) -> None:
    pass


def deep_size(*roots: object) -> int:
    """Bytes of everything that can be reached from ``roots``, classes, modules and functions left out."""
    seen: set[int] = set()
    waiting, total = list(roots), 0
    while waiting:
        item = waiting.pop()
        if id(item) not in seen and not isinstance(item, type | ModuleType | FunctionType):
            seen.add(id(item))
            total += sys.getsizeof(item)
            waiting += gc.get_referents(item)
    return total


def feed_filter(_: Path) -> tuple[Feed, list[Element]]:
    """A new track and a new plate every ten frames; it is counted, has a heading, and may cross a line."""
    line = [{"left": 30, "top": 0}, {"left": 30, "top": 60}]
    common = {
        "classes": [0],
        "times": [{"time_start": "00 00 00", "time_end": "23 59 59"}],
        "alert_first_frame": 3,
        "alert_frame_skip_nums": 50,
    }
    filters = [
        {"type": 1, "areas": [line], "direction": [1, 0], "mode": "touch", **common},
        {"type": 1, "areas": [line], "mode": "cross", **common},
        {"type": 0, "areas": [[]], **common},
    ]
    rules = [{"channel_id": i, "filters": filters} for i in (0, 1)]
    element = Filter(context("filter", {"rules": rules}))

    def feed(number: int) -> None:
        track, step = divmod(number // 2, 10)
        x = 5.0 * step
        box = [[x, 10, x + 8, 40]] * in_a_crowd(number)
        frame = frame_of(number, Detections.from_arrays(box, [0.9] * len(box), [0] * len(box), [track + 1] * len(box)))
        frame.sub_frames = [Frame(0, 0, 0, recognitions=[Recognition(f"plate {track}")])]
        element.process(frame, swallow)

    return feed, [element]


def feed_bytetrack(_: Path) -> tuple[Feed, list[Element]]:
    """Something new every eight frames, somewhere else."""
    element = ByteTrack(context("bytetrack", {}))

    def feed(number: int) -> None:
        thing = number // 16
        x, y = 37 * thing % 50, 53 * thing % 50
        box = [[x, y, x + 8, y + 8]] * in_a_crowd(number)
        element.process(frame_of(number, Detections.from_arrays(box, [0.9] * len(box), [0] * len(box))), swallow)

    return feed, [element]


def feed_branches(folder: Path) -> tuple[Feed, list[Element]]:
    """Parts on two ways, of which each third is dropped, and each seventh frame is."""
    (folder / "names").write_text("a\nb")
    by_class = [{"classes": ["a"], "port": 1}, {"classes": ["b"], "port": 2}]
    rules = [{"routes": by_class}, {"time_interval": 0.001, "routes": [{"classes": [], "port": 1}]}]
    distributor = Distributor(
        context("distributor", {"default_port": 0, "rules": rules, "class_names_file": "names"}, folder)
    )
    converger = Converger(context("converger", {"default_port": 0}))
    distributor.returns = {1: 1, 2: 1}

    def feed(number: int) -> None:
        def emit(frame: Frame, *, port: int | None = None) -> None:
            frame.port = port or 0
            if frame.ticket % 3 == 0 if frame.branch_of else number % 7 == 0:
                frame.dropped = True
            converger.process(frame, swallow)

        detections = Detections.from_arrays([[1, 1, 9, 9]] * 2, [0.9] * 2, [0, number % 3])
        distributor.process(frame_of(number, detections), emit)

    return feed, [distributor, converger]


@pytest.mark.parametrize("make", [feed_filter, feed_bytetrack, feed_branches])
def test_memory_stays_flat_however_many_frames_there_were(
    make: Callable[[Path], tuple[Feed, list[Element]]], tmp_path: Path
) -> None:
    feed, elements = make(tmp_path)
    sizes = []
    for number in range(FRAMES - TRACED):
        feed(number)
        if number >= WARM_UP and number % 960 in (20, 959):
            sizes.append(deep_size(*elements))
    half = len(sizes) // 2
    assert max(sizes[half:]) < max(sizes[:half]) + len(sizes)
    gc.collect()
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(FRAMES - TRACED, FRAMES):
            feed(number)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < ALLOWED_BYTES
