"""The real detector elements with files of a fixed batch, in running graphs: as with files of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements import element_class
from streamserver.engine.element import Element, ElementContext
from streamserver.engine.frame import Frame
from tests import onnx_files
from tests.engine.elements import channel, frames_in, graph_of, make_runner
from tests.engine.test_batches import frames_of

SIDE = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """The same network for one picture and for four."""
    folder = tmp_path_factory.mktemp("weights")
    one = onnx_files.yolov5(folder / "one.onnx", side=SIDE, classes=3, found=(0, 1, 2))
    return {1: one, 4: onnx_files.with_batch(one, folder / "four.onnx", 4)}


def picture_of(frame: Frame) -> Picture:
    """Noise of its own, in a size of its own."""
    rng = np.random.default_rng((frame.channel_id, frame.frame_id))
    width, height = (int(side) for side in rng.integers(20, 120, 2))
    return Picture((width, height), lambda: rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def opened(path: Path, **keys: Any) -> Element:
    configure = {"model_path": str(path), "threshold_conf": 0.4, "threshold_nms": 0.5, **keys}
    element = element_class("yolov5")(
        ElementContext(
            element_id=1,
            name="yolov5",
            config_file="yolov5.json",
            configure=configure,
            settings=Settings(device="cpu"),
            base_dir=Path(),
        )
    )
    element.open()
    return element


def summary(frame: Frame) -> tuple[Any, ...]:
    found = frame.detections
    return frame.channel_id, frame.frame_id, found.class_ids.tolist(), found.boxes_xyxy.round(2).tolist()


@pytest.mark.parametrize("roi", [{}, {"roi": {"left": 10, "top": 10, "width": 60, "height": 50}}], ids=["all", "roi"])
def test_frames_given_together_get_what_each_gets_alone(files: Mapping[int, Path], roi: dict[str, Any]) -> None:
    alone, together = opened(files[1], **roi), opened(files[4], **roi)
    assert (alone.batch_size, together.batch_size) == (1, 4)
    outcomes = []
    for element in (alone, together):
        emitted: list[Frame] = []

        def emit(frame: Frame, *, port: int | None = None, into: list[Frame] = emitted) -> None:
            into.append(frame)

        frames = frames_of(3, 3)
        for frame in frames:
            frame.picture = picture_of(frame)
        frames[4].picture = None
        if element is alone:
            for frame in frames:
                element.process(frame, emit)
        else:
            element.process_many(frames, emit)
        element.close()
        assert emitted == frames
        outcomes.append([summary(frame) for frame in emitted])
    assert outcomes[0] == outcomes[1]
    assert sum(bool(one[2]) for one in outcomes[0]) == 8


def test_a_graph_of_several_channels_finds_the_same_with_a_file_of_four(files: Mapping[int, Path]) -> None:
    outcomes = []
    for path in files.values():
        into: list[Any] = []
        configure = {"model_path": str(path), "threshold_conf": 0.4, "threshold_nms": 0.5}
        nodes: dict[int, tuple[str, Any]] = {
            1: ("numbers", {"frames": 8}),
            2: ("yolov5", configure),
            3: ("recorder", {"into": into}),
        }
        graph = graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0)])
        assert make_runner([graph], [channel(i, url=f"/{i}", sample_interval=1 + i % 2) for i in range(4)]).run() == []
        outcomes.append({i: [summary(frame) for frame in frames_in(into) if frame.channel_id == i] for i in range(4)})
    assert outcomes[0] == outcomes[1]
    assert [len(frames) for frames in outcomes[0].values()] == [8, 4, 8, 4]
    assert all(one[2] for frames in outcomes[0].values() for one in frames)
