"""The engine's end of a push: a real ``http_push`` element that posts one frame again and again, as a camera would.

Run by ``bench.tables.client``; prints the CPU milliseconds that it took for each frame.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from streamserver.core.arrays import Detections
from streamserver.core.events import IN, Kind, RuleEvent
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.http_push import HttpPush
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

OBJECTS = 5
RATE = 25
MODES = ("bare", "events", "quiet")
"""Objects alone, with the picture, as a sophon-stream program sends them; with the events of a rule, as our engine
does; nothing found."""


def main() -> None:
    """Sends and prints the cost of a frame."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--picture", type=Path, required=True, help="an array of BGR, .npy")
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--pictures", choices=("always", "on_demand"), required=True)
    parser.add_argument("--first", type=int, required=True, help="number of the first frame")
    parser.add_argument("--frames", type=int, required=True)
    options = parser.parse_args()
    image_bgr = np.load(options.picture)
    element = HttpPush(_context(options.port, options.pictures))
    spent_s, due = 0.0, time.monotonic()
    for number in range(options.first, options.first + options.frames):
        frame = _frame(image_bgr, number, options.mode)
        before = time.process_time()
        element.process(frame, lambda frame, *, port=None: None)
        spent_s += time.process_time() - before
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
    element.close()
    assert not element.dropped, f"{element.dropped} frames were dropped"
    print(1000 * spent_s / options.frames)


def _context(port: int, pictures: str) -> ElementContext:
    configure = {"ip": "127.0.0.1", "port": port, "path": "/flask_test/", "pictures": pictures}
    return ElementContext(
        element_id=7,
        name="http_push",
        config_file="push.json",
        configure=configure,
        settings=Settings(),
        base_dir=Path(),
    )


def _frame(image_bgr: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], number: int, mode: str) -> Frame:
    height, width = image_bgr.shape[:2]
    boxes = [(150 + 330 * i, 300 + 40 * i, 240 + 330 * i, 520 + 40 * i) for i in range(OBJECTS)]
    found = boxes if mode != "quiet" else []
    return Frame(
        0,
        0,
        number,
        sequence=number,
        timestamp_us=time.time_ns() // 1000,
        picture=Picture((width, height), lambda: image_bgr),
        detections=Detections.from_arrays(found, [0.8] * len(found), [0] * len(found), range(1, len(found) + 1))
        if found
        else Detections.empty(),
        events=None if mode == "bare" else [_crossing(i, box) for i, box in enumerate(found)],
        event_pictures=[None] * len(found),
    )


def _crossing(row: int, box_xyxy: tuple[int, int, int, int]) -> RuleEvent:
    return RuleEvent(kind=Kind.CROSS, track_id=row + 1, row=row, class_id=0, score=0.8, box_xyxy=box_xyxy, direction=IN)


if __name__ == "__main__":
    main()
