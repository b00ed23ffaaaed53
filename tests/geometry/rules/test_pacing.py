from __future__ import annotations

import pytest

from streamserver.geometry.rules.pacing import Pacing
from tests.geometry.rules.rule_frames import FPS, rule_frame

KEY = (7, "inside")


def told_at(pacing: Pacing, present: list[bool], *, fps: float = FPS) -> list[int]:
    """The frames in which the same may be told of object 7, asked in each in which it is there."""
    told = []
    for step, there in enumerate(present):
        pacing.see(rule_frame(step, {}, clock_s=step / fps), [7] if there else [])
        if there and pacing.allows(KEY, step, step / fps):
            told.append(step)
    return told


@pytest.mark.parametrize(
    ("every", "cooldown_s", "expected"),
    [
        (0, 0.0, [0]),
        (1, 0.0, list(range(40))),
        (15, 0.0, [0, 15, 30]),
        (1, 2.0, [0, 20]),
        (15, 2.0, [0, 20]),
        (30, 2.0, [0, 30]),
        (0, 2.0, [0]),
    ],
)
def test_the_same_is_told_again_after_frames_and_seconds(every: int, cooldown_s: float, expected: list[int]) -> None:
    assert told_at(Pacing(every=every, cooldown_s=cooldown_s, rearm_s=5.0), [True] * 40) == expected


@pytest.mark.parametrize(("away_frames", "expected"), [(1, [0]), (9, [0]), (10, [0, 11]), (30, [0, 31])])
def test_who_was_gone_for_the_rearm_time_is_new(away_frames: int, expected: list[int]) -> None:
    present = [True, *[False] * away_frames, *[True] * 5]
    pacing = Pacing(every=0, cooldown_s=1000.0, rearm_s=1.0)
    assert told_at(pacing, present) == expected


def test_objects_that_are_seen_less_often_than_the_rearm_time_are_not_gone() -> None:
    pacing = Pacing(every=0, cooldown_s=0.0, rearm_s=5.0)
    assert told_at(pacing, [True, True, False, False, True], fps=1 / 30) == [0]
    assert told_at(Pacing(every=0, cooldown_s=0.0, rearm_s=0.0), [True, False, False, True, True]) == [0]


def test_objects_and_what_is_said_of_them_are_paced_on_their_own() -> None:
    pacing = Pacing(every=0, cooldown_s=0.0, rearm_s=5.0)
    pacing.see(rule_frame(0, {}), [7, 8])
    assert pacing.allows((7, "inside"), 0, 0.0)
    assert pacing.allows((7, "dwell"), 0, 0.0)
    assert pacing.allows((8, "inside"), 0, 0.0)
    assert not pacing.allows((8, "inside"), 0, 0.0)


def test_a_reset_forgets_what_was_told() -> None:
    pacing = Pacing(every=0, cooldown_s=0.0, rearm_s=5.0)
    assert told_at(pacing, [True, True]) == [0]
    pacing.reset()
    assert len(pacing) == 0
    assert pacing.allows(KEY, 2, 0.2)


def test_only_those_of_whom_something_was_told_are_remembered_until_they_are_gone() -> None:
    pacing = Pacing(every=1, cooldown_s=0.0, rearm_s=1.0)
    for step in range(1, 5001):
        pacing.see(rule_frame(step, {}), [step])
        if step % 2:
            pacing.allows((step, "inside"), step, step / FPS)
        assert len(pacing) <= 6
    for step in range(5001, 5013):
        pacing.see(rule_frame(step, {}), [])
    assert len(pacing) == 0
