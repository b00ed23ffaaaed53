"""What is kept of objects for the pictures of events."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.events import Kind, RuleEvent
from streamserver.core.picture import Picture
from streamserver.elements import _shots
from streamserver.elements._shots import LONGEST_PX, Shots
from streamserver.geometry.rules.rule import RuleKind, RuleSpec

LEAVING = RuleSpec(kind=RuleKind.AREA, events=frozenset({Kind.LEAVE}))
BEST = RuleSpec(kind=RuleKind.CROSS, best_picture=True)


def scene(shade: int, *, size_wh: tuple[int, int] = (400, 300), blur: int = 0) -> ImageBgr:
    """Noise with a mean of ``shade``, the same everywhere, so that sharpness is the same."""
    noise = np.random.default_rng(3).integers(-30, 30, (size_wh[1], size_wh[0], 1))
    image = np.clip(noise + shade, 0, 255).astype(np.uint8).repeat(3, axis=2)
    return np.asarray(cv2.blur(image, (blur, blur)), np.uint8) if blur else image


def see(shots: Shots, image: ImageBgr, boxes: dict[int, list[float]], clock_s: float) -> None:
    found = Detections.from_arrays(list(boxes.values()), [0.9] * len(boxes), [0] * len(boxes), list(boxes))
    shots.see(Picture((image.shape[1], image.shape[0]), lambda: image), found, list(boxes), clock_s)


def event(track_id: int) -> RuleEvent:
    return RuleEvent(kind=Kind.LEAVE, track_id=track_id, box_xyxy=(1, 1, 9, 9))


def shade_of(shots: Shots, track_id: int, *, best: bool) -> float | None:
    image = shots.of(event(track_id), best=best)
    return None if image is None else float(image.mean())


BOX = [100.0, 100.0, 150.0, 200.0]


@pytest.mark.parametrize(
    ("spec", "best", "last"),
    [
        (LEAVING, False, True),
        (BEST, True, False),
        (RuleSpec(kind=RuleKind.FLOW), False, True),
        (RuleSpec(kind=RuleKind.CROSS), False, False),
        (RuleSpec(kind=RuleKind.AREA, events=frozenset({Kind.DWELL})), False, False),
        (RuleSpec(kind=RuleKind.AREA, events=frozenset({Kind.LEAVE}), best_picture=True), True, False),
    ],
    ids=["leave", "best", "flow", "cross", "dwell", "best of who leaves"],
)
def test_only_what_may_be_asked_for_is_kept(spec: RuleSpec, best: bool, last: bool) -> None:
    shots = Shots([spec])
    see(shots, scene(100), {1: BOX}, 0.0)
    assert (shade_of(shots, 1, best=True) is not None, shade_of(shots, 1, best=False) is not None) == (best, last)
    assert len(shots) == (best or last)


def test_where_nothing_is_kept_the_picture_is_not_even_converted() -> None:
    def convert() -> Any:
        raise AssertionError("nobody needs it")

    found = Detections.from_arrays([BOX], [0.9], [0], [1])
    Shots([RuleSpec(kind=RuleKind.CROSS)]).see(Picture((9, 9), convert), found, [1], 0.0)
    Shots([BEST]).see(Picture((9, 9), convert), found, [0], 0.0)


def test_the_last_one_is_as_it_was_last_seen() -> None:
    shots = Shots([LEAVING])
    for second, shade in enumerate((60, 120, 180)):
        see(shots, scene(shade), {1: BOX}, float(second))
    see(shots, scene(240), {}, 3.0)
    assert shade_of(shots, 1, best=False) == pytest.approx(180, abs=3)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([(scene(60), BOX), (scene(120), [90.0, 90.0, 170.0, 260.0]), (scene(180), BOX)], 120),
        ([(scene(60), BOX), (scene(120, blur=5), BOX), (scene(180, blur=9), BOX)], 60),
        ([(scene(60, blur=9), BOX), (scene(120), BOX)], 120),
        ([(scene(60), [350.0, 100.0, 480.0, 200.0]), (scene(120), [300.0, 100.0, 380.0, 200.0])], 120),
    ],
    ids=["the largest", "the sharpest", "sharp after blurred", "what is beyond the edge does not count"],
)
def test_the_best_one_is_large_and_sharp(frames: list[tuple[ImageBgr, list[float]]], expected: float) -> None:
    shots = Shots([BEST])
    for second, (image, box) in enumerate(frames):
        see(shots, image, {1: box}, float(second))
    assert shade_of(shots, 1, best=True) == pytest.approx(expected, abs=3)


def test_each_object_has_its_own_and_one_without_an_identity_has_none() -> None:
    shots = Shots([LEAVING])
    image = scene(60)
    image[:, 200:] = 200
    see(shots, image, {1: [50.0, 50.0, 90.0, 90.0], 2: [300.0, 50.0, 340.0, 90.0], 0: BOX}, 0.0)
    assert len(shots) == 2
    assert shade_of(shots, 2, best=False) == 200
    assert shots.of(event(0), best=False) is None


def test_what_is_kept_is_a_copy_with_a_margin_and_not_larger_than_needed() -> None:
    shots = Shots([LEAVING, BEST])
    image = scene(100, size_wh=(1920, 1080))
    see(shots, image, {1: [100.0, 50.0, 1700.0, 1000.0], 2: [1800.0, 900.0, 1840.0, 1000.0]}, 0.0)
    image[:] = 0
    for best in (True, False):
        large, small = (shots.of(event(i), best=best) for i in (1, 2))
        assert large is not None and small is not None
        assert max(large.shape[:2]) == LONGEST_PX
        assert small.shape == (140, 140, 3), "the box and 20 pixels around, a square"
        assert small.base is None and not np.shares_memory(small, image)
        assert large.mean() == pytest.approx(100, abs=3)


def test_a_box_outside_the_picture_does_no_harm() -> None:
    shots = Shots([LEAVING, BEST])
    see(shots, scene(100), {1: [-90.0, -90.0, -10.0, -10.0], 2: [900.0, 900.0, 950.0, 990.0]}, 0.0)
    assert len(shots) == 2


def test_who_is_gone_is_dropped_but_not_before_the_rule_has_told_of_it() -> None:
    usual, patient = Shots([LEAVING]), Shots([RuleSpec(kind=RuleKind.FLOW, rearm_s=60)])
    for shots in (usual, patient):
        see(shots, scene(100), {1: BOX}, 0.0)
    see(usual, scene(100), {}, 29.0)
    see(patient, scene(100), {}, 90.0)
    assert (len(usual), len(patient)) == (1, 1)
    see(usual, scene(100), {}, 31.0)
    see(patient, scene(100), {}, 121.0)
    assert (len(usual), len(patient)) == (0, 0)


def test_a_crowd_takes_no_more_memory_than_allowed_and_the_longest_unseen_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shots = Shots([LEAVING])
    see(shots, scene(100), {1: BOX}, 0.0)
    monkeypatch.setattr(_shots, "MOST_BYTES", 10 * shots.bytes)
    for n in range(2, 40):
        see(shots, scene(100), {n: BOX, 1: BOX}, n / 10)
    assert shots.bytes <= 10 * 140 * 140 * 3
    assert [n for n in range(1, 40) if shots.of(event(n), best=False) is not None] == [1, *range(31, 40)]


def test_new_rules_go_on_with_what_is_kept_and_a_reset_forgets_it() -> None:
    before = Shots([LEAVING])
    see(before, scene(100), {1: BOX}, 0.0)
    after = Shots([BEST, LEAVING], before)
    assert shade_of(after, 1, best=False) == pytest.approx(100, abs=3)
    after.reset()
    assert len(after) == 0
