"""An ``http_push`` element at work, and frames for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.http_push import HttpPush
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

PATIENCE_S = 60.0


def context(stopping: threading.Event | None = None, **configure: Any) -> ElementContext:
    return ElementContext(
        element_id=7,
        name="http_push",
        config_file="push.json",
        configure={"ip": "0.0.0.0", "port": 10001, "path": "/flask_test/0", **configure},
        settings=Settings(),
        base_dir=Path(),
        stopping=stopping or threading.Event(),
    )


def make_frame(number: int = 0, boxes: int = 2) -> Frame:
    image = np.zeros((120, 200, 3), np.uint8)
    image[:, 100:] = (0, 0, 255)
    detections = Detections.from_arrays(
        [[10 + 100 * i, 40, 30 + 100 * i, 60] for i in range(boxes)], [0.5] * boxes, range(boxes), range(1, boxes + 1)
    )
    return Frame(
        4,
        1,
        number,
        sequence=number,
        loop=2,
        timestamp_us=1_700_000_000_000_000,
        picture=Picture((200, 120), lambda: image),
        detections=detections,
    )


class Pushing:
    """An element that is closed after the test, and what it emitted."""

    def __init__(self, element: HttpPush) -> None:
        self.element = element
        self.emitted: list[Frame] = []

    def push(self, *frames: Frame) -> None:
        for frame in frames:
            self.element.process(frame, self._emit)

    def _emit(self, frame: Frame, *, port: int | None = None) -> None:
        self.emitted.append(frame)


@contextmanager
def pushing_elements() -> Iterator[Callable[[ElementContext], Pushing]]:
    """Makes elements, and closes them in the end."""
    elements: list[HttpPush] = []

    def make(element_context: ElementContext) -> Pushing:
        elements.append(HttpPush(element_context))
        return Pushing(elements[-1])

    yield make
    for element in elements:
        element.close()
