from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements import blank, resize
from streamserver.engine.element import Element, ElementContext
from streamserver.engine.frame import Frame

KEYS = {"dst_w": 30, "dst_h": 20, "crop_left": 10, "crop_top": 20, "crop_w": 60, "crop_h": 40}


def context_of(name: str, configure: dict[str, Any]) -> ElementContext:
    return ElementContext(
        element_id=6, name=name, config_file=f"{name}.json", configure=configure, settings=Settings(), base_dir=Path()
    )


def picture(width: int = 100, height: int = 80) -> Picture:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Picture((width, height), lambda: image)


def run(element: Element, frame: Frame) -> Frame:
    emitted: list[Frame] = []
    element.process(frame, lambda frame, *, port=None: emitted.append(frame))
    assert emitted == [frame]
    return frame


def test_the_files_offer_the_elements() -> None:
    for module, element in ((resize, resize.Resize), (blank, blank.Blank)):
        assert module.ELEMENT is element


def test_a_part_of_the_picture_is_brought_to_the_wanted_size_and_boxes_stay() -> None:
    detections = Detections.from_arrays([[1, 2, 3, 4]], [0.5], [0])
    frame = run(resize.Resize(context_of("resize", KEYS)), Frame(0, 0, 0, picture=picture(), detections=detections))
    assert frame.picture is not None
    assert frame.picture.size_wh == (30, 20)
    image = frame.picture.bgr.astype(int)
    assert image.shape == (20, 30, 3)
    assert np.abs(image[0, 0, :2] - (10, 20)).max() <= 1
    assert np.abs(image[-1, -1, :2] - (69, 59)).max() <= 1
    assert frame.detections is detections


def test_what_was_drawn_is_resized_too_and_nothing_is_done_before_somebody_looks() -> None:
    never = Picture((100, 80), lambda: pytest.fail("converted"))
    frame = run(resize.Resize(context_of("resize", KEYS)), Frame(0, 0, 0, picture=never, drawing=picture()))
    assert frame.drawing is not None
    assert frame.drawing.bgr.shape == (20, 30, 3)


def test_growing_works_and_skipped_frames_have_the_same_size() -> None:
    assert resize.Resize.wants_skipped
    element = resize.Resize(context_of("resize", {**KEYS, "dst_w": 300, "dst_h": 200}))
    frame = run(element, Frame(0, 0, 0, picture=picture(), skipped=True))
    assert frame.picture is not None
    assert frame.picture.bgr.shape == (200, 300, 3)


def test_a_part_beyond_the_edge_is_cut_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    element = resize.Resize(context_of("resize", {**KEYS, "crop_w": 1000}))
    for _ in range(3):
        frame = run(element, Frame(0, 0, 0, picture=picture()))
        assert frame.picture is not None
        assert abs(int(frame.picture.bgr[0, -1, 0]) - 98) <= 2
    assert caplog.text.count("resize.json: element 6: the part to cut out reaches beyond the picture of 100x80") == 1


def test_a_part_outside_of_the_picture_is_an_error() -> None:
    element = resize.Resize(context_of("resize", {**KEYS, "crop_left": 100}))
    with pytest.raises(
        GraphError, match=r"element 6 'resize': crop_left, crop_top: \(100, 20\) lies outside .* 100x80"
    ):
        run(element, Frame(0, 0, 0, picture=picture()))


@pytest.mark.parametrize("key", sorted(KEYS))
@pytest.mark.parametrize("value", [None, "3", -1, 1.5, True, 10**6])
def test_every_key_is_required_and_counts_pixels(key: str, value: Any) -> None:
    with pytest.raises(GraphError, match=f"resize.json: element 6 'resize': {key}: expected pixels from"):
        resize.Resize(context_of("resize", {**KEYS, key: value}))


def test_blank_logs_and_passes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    frame = Frame(3, 0, 8, skipped=True)
    run(blank.Blank(context_of("blank", {})), frame)
    assert "channel 3 frame 8: 0 objects, 0 faces, 0 parts" in caplog.text
