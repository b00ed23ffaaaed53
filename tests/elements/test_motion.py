"""The motion element: it stands in for a detector, keeps its channels apart and forgets in time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.elements.motion import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture

WARMUP = 5


def element(*, report: Any = lambda key, value: None, **keys: Any) -> Any:
    context = ElementContext(
        element_id=5001,
        name="motion",
        config_file="elements/0_5001_motion.json",
        configure=keys,
        settings=Settings(),
        base_dir=Path(),
        report=report,
    )
    return ELEMENT(context)


def push(ready: Any, picture: np.ndarray | None, *, channel: int = 0, **marks: Any) -> Frame:
    frame = Frame(channel, 0, 0, **marks)
    if picture is not None:
        frame.picture = Picture((picture.shape[1], picture.shape[0]), lambda: picture)
    out: list[Frame] = []
    method = ready.end_of_stream if frame.end_of_stream else ready.process
    method(frame, lambda frame, *, port=None: out.append(frame))
    assert out == [frame]
    return frame


def room(thing_x: int | None = None, *, seed: int = 1) -> np.ndarray:
    picture = np.random.default_rng(seed).integers(60, 100, (120, 200, 3)).astype(np.uint8)
    if thing_x is not None:
        picture[40:80, thing_x : thing_x + 30] = 230
    return picture


def learned(**keys: Any) -> Any:
    ready = element(warmup_frames=WARMUP, **keys)
    ready.open()
    for _ in range(WARMUP + 1):
        assert len(push(ready, room()).detections) == 0
    return ready


def test_it_reports_what_runs() -> None:
    said = []
    element(report=lambda key, value: said.append((key, value))).open()
    assert said == [("detector", "motion")]


def test_a_moving_thing_is_an_object_of_class_0_with_score_1() -> None:
    found = push(learned(), room(100)).detections
    assert found.boxes_xyxy == pytest.approx(np.array([[100, 40, 130, 80]]), abs=3)
    assert (found.class_ids.tolist(), found.scores.tolist(), found.tracked) == ([0], [1.0], False)


def test_the_keys_of_the_detector_it_stands_in_for_are_accepted() -> None:
    ready = learned(
        model_path="x.bmodel", threshold_conf={"person": 0.5}, threshold_nms=0.5, std=[1, 1, 1], bgr2rgb=True
    )
    assert len(push(ready, room(100)).detections) == 1


def test_a_discontinuity_starts_the_background_anew() -> None:
    ready = learned()
    assert len(push(ready, room(100), discontinuity=True).detections) == 0
    assert len(push(ready, room()).detections) == 0


def test_channels_have_their_own_background() -> None:
    ready = learned()
    for _ in range(WARMUP + 1):
        push(ready, room(seed=2), channel=7)
    assert len(push(ready, room(100)).detections) == 1
    assert len(push(ready, room(seed=2), channel=7).detections) == 0


def test_a_channel_that_ended_is_forgotten() -> None:
    ready = learned()
    push(ready, None, end_of_stream=True)
    assert ready._detectors == {}
    assert len(push(ready, room(100)).detections) == 0
    ready.close()
    assert ready._detectors == {}


def test_a_region_is_looked_at_alone_and_boxes_come_back_in_frame_pixels() -> None:
    ready = learned(roi={"left": 80, "top": 20, "width": 100, "height": 90})
    assert push(ready, room(100)).detections.boxes_xyxy == pytest.approx(np.array([[100, 40, 130, 80]]), abs=3)
    assert len(push(ready, room(10)).detections) == 0
    outside = learned(roi={"left": 500, "top": 0, "width": 1, "height": 1})
    assert push(outside, room(100)).detections.boxes_xyxy == pytest.approx(np.array([[100, 40, 130, 80]]), abs=3)
    assert len(push(outside, room(), branch_of=3).detections) == 0, "parts have all sizes"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"min_area": -1}, "min_area: expected a number from 0, got -1"),
        ({"min_area": float("nan")}, "min_area: expected a number"),
        ({"min_area": "big"}, "min_area: expected a number"),
        ({"history": 1}, "history: expected a whole number from 2, got 1"),
        ({"history": 20.5}, "history: expected a whole number"),
        ({"history": 10**400}, "history: expected a whole number"),
        ({"min_area": 10**400}, "min_area: expected a number"),
        ({"warmup_frames": True}, "warmup_frames: expected a whole number"),
        ({"roi": 5}, "roi: expected an object"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5001_motion.json: element 5001 'motion': {problem}"):
        element(**keys)


def test_another_part_of_the_picture_is_learnt_anew_and_other_keys_change_nothing() -> None:
    ready = learned(roi={"left": 0, "top": 0, "width": 100, "height": 120})
    ready.reconfigure({**ready.context.configure, "threshold_conf": 0.7})
    assert len(push(ready, room(40)).detections) == 1
    ready.reconfigure({**ready.context.configure, "roi": {"left": 100, "top": 0, "width": 100, "height": 120}})
    for _ in range(WARMUP + 1):
        assert len(push(ready, room()).detections) == 0
    ((left, *_),) = push(ready, room(140)).detections.boxes_xyxy.tolist()
    assert left == pytest.approx(140, abs=8)
    with pytest.raises(GraphError, match="roi"):
        ready.reconfigure({"roi": 5})
    assert len(push(ready, room(140)).detections) == 1
