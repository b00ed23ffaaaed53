"""The samples' own graphs in one engine: the network looks once at a frame, and nobody changes what others see."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver import elements
from streamserver.core.arrays import Detections
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements._detector import DetectorElement
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.engine.runner import Runner
from streamserver.graph.normalise import normalise
from streamserver.supervise.plan import plan
from tests.assets import model
from tests.engine.elements import Numbers
from tests.supervise.requests import request

SIZE_WH = (640, 360)
FRAMES = 5


class Clip(Numbers):
    """``FRAMES`` frames of the right size; nothing is to be seen."""

    def read(self, channel: Any, **values: Any) -> Any:
        for one in super().read(channel, **values):
            yield dataclasses.replace(one, picture=Picture(SIZE_WH, lambda: np.zeros((360, 640, 3), np.uint8)))


class Walkers(Element):
    """In a detector's place: two persons, who walk, in arrays that nobody can write into."""

    may_be_shared = True

    def process(self, frame: Frame, emit: Emit) -> None:
        x = 100 + 40 * frame.frame_id
        boxes = [(x, 100, x + 60, 260), (500 - x, 60, 560 - x, 240)]
        frame.detections = frozen(Detections.from_arrays(boxes, [0.9, 0.8], [0, 0]))
        emit(frame)


class Tracker(Element):
    """The real one, whose results nobody can write into either."""

    may_be_shared = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._real = elements.element_class("bytetrack")(context)

    def process(self, frame: Frame, emit: Emit) -> None:
        def freeze(frame: Frame, *, port: int | None = None) -> None:
            frame.detections = frozen(frame.detections)
            emit(frame, port=port)

        self._real.process(frame, freeze)


def frozen(detections: Detections) -> Detections:
    for field in dataclasses.fields(detections):
        array = getattr(detections, field.name)
        if array is not None:
            array.setflags(write=False)
    return detections


class Looker:
    """Notes what of each channel is analysed, and what of that the rules let through."""

    def __init__(self) -> None:
        self.seen: dict[int, list[Frame]] = {}
        self.told: dict[int, list[Frame]] = {}

    def tap(self, frame: Frame) -> None:
        self.seen.setdefault(frame.channel_id, []).append(frame)

    def sink(self, context: ElementContext) -> Element:
        looker = self

        class Sink(Element):
            def process(self, frame: Frame, emit: Emit) -> None:
                looker.told.setdefault(frame.channel_id, []).append(frame)

        return Sink(context)


def engine(*types: int, looker: Looker, models: Path | None = None, **instead: type[Element]) -> Runner:
    """The graphs of these algorithms on a drawn clip, without their clients."""
    content = request(*[types[0]] * len(types), address="/clip.mp4")
    for entry, number in zip(content["Algorithm"], types, strict=True):
        entry |= {"Type": number, "DetectInterval": 1, "TrackInterval": 2}
    found = plan(content, port=1, settings=Settings())
    classes: dict[str, Any] = {"decode": Clip, "http_push": looker.sink, **instead}
    return Runner(
        [normalise(raw) for raw in found.graphs],
        found.demo.channels,
        settings=Settings(models=str(models or "")),
        base_dir=Path(),
        element_class=lambda name: classes.get(name) or elements.element_class(name),
        tap=looker.tap,
    )


def test_a_network_that_three_algorithms_use_looks_at_each_frame_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = model("yolox_nano.onnx")
    looks: list[str] = []
    real = DetectorElement._look

    def look(element: DetectorElement, *values: Any, **options: Any) -> Any:
        looks.append(element.context.name)
        return real(element, *values, **options)

    monkeypatch.setattr(DetectorElement, "_look", look)
    looker = Looker()
    runner = engine(1, 6, 7, looker=looker, models=weights.parent)
    assert runner.run() == []
    assert looks == ["yolox"] * FRAMES
    assert {i: len(frames) for i, frames in looker.seen.items()} == dict.fromkeys(range(3), FRAMES)
    assert runner.snapshot().detector.count("yolox_nano.onnx") == 1


def test_rules_leave_what_others_share_as_it_is() -> None:
    looker = Looker()
    runner = engine(1, 6, 7, 3, looker=looker, yolox=Walkers, bytetrack=Tracker)
    assert runner.run() == []
    assert len(runner._branches) == 3
    assert {i: len(frames) for i, frames in looker.seen.items()} == dict.fromkeys(range(4), FRAMES)
    assert len({tuple(frame.picture for frame in frames) for frames in looker.seen.values()}) == 1
    assert {1, 3} <= looker.told.keys()
