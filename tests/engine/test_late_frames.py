"""What a source gives late, and what it gives while nothing moves: the motion gate's two requests to the engine."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from typing import Any

import pytest

from streamserver.engine.element import Channel, Element, Emit, SourceElement
from streamserver.engine.frame import Frame
from tests.engine.elements import Read, chain, channel, frames_in, make_runner

PATIENCE_S = 60.0


def seen(reads: list[Read], *, interval: int = 1, first_takes: int = 0) -> list[int]:
    """The numbers of the frames of a live source that a slow element sees; none but the last may be left out after.

    The first frame takes it until so many have been read, each other one a few milliseconds.
    """
    enough = threading.Event()

    class Slow(Element):
        def process(self, frame: Frame, emit: Emit) -> None:
            assert enough.wait(PATIENCE_S)
            threading.Event().wait(0.004)
            emit(frame)

    class Camera(SourceElement):
        def source_key(self, channel: Channel) -> Hashable:
            return channel.url

        def read(self, channel: Channel, **_: Any) -> Iterator[Read]:
            for number, one in enumerate(reads):
                if number == first_takes:
                    enough.set()
                yield one

    into: list[Any] = []
    graph = chain(("camera", {}), ("slow", {}), ("recorder", {"into": into}))
    source = channel(url="rtsp://cam/1", source_type="RTSP", sample_interval=interval)
    assert make_runner([graph], [source], more={"camera": Camera, "slow": Slow}).run() == []
    return [frame.frame_id for frame in frames_in(into)]


def test_no_late_frame_is_left_out_nor_one_for_the_first_that_is_not_late() -> None:
    reads = [Read(number, late=50 <= number < 90) for number in range(150)]
    found = seen(reads, first_takes=20)
    assert [number for number in found if 50 <= number < 90] == list(range(50, 90))
    assert found == sorted(set(found))
    assert len(found) < 150 - 10, "of the others the newest won"


@pytest.mark.parametrize("interval", [3, 7])
def test_a_frame_at_rest_is_kept_whatever_the_sampling_and_the_others_as_always(interval: int) -> None:
    reads = [Read(number, at_rest=number in (50, 100), late=True) for number in range(151)]
    assert seen(reads, interval=interval) == sorted({*range(0, 151, interval), 50, 100})
