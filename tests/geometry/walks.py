"""Recorded detections of clips, tracked and linked once for all rules that look at them."""

from __future__ import annotations

from functools import cache

from streamserver.geometry.rules.rule import RuleFrame
from tests.geometry.clip_detections import SIZE_BOTTLES, SIZE_ONE_BY_ONE, bottles, one_by_one
from tests.geometry.counting import backwards, rule_frames


@cache
def six_people(interval: int, *, reverse: bool = False) -> tuple[RuleFrame, ...]:
    """Six people come and leave to the right, or backwards."""
    found = one_by_one(interval=1 if reverse else interval, min_score=0.1)
    frames = backwards(found, interval=interval) if reverse else found
    return tuple(rule_frames(frames, interval=interval, size_wh=SIZE_ONE_BY_ONE))


@cache
def arms(interval: int) -> tuple[RuleFrame, ...]:
    """Nobody: arms that reach in."""
    return tuple(rule_frames(bottles(interval=interval), interval=interval, size_wh=SIZE_BOTTLES, fps=30))
