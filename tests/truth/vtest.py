"""The crossings of ``vtest.avi`` that people see (``vtest_crossings.md``), and what a rule told of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from streamserver.core.events import IN, RuleEvent
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.rule import RuleFrame
from tests.geometry.counting import SIZES_WH, Found, across, events_of

CLIP = "vtest.avi"
FPS = 10
DOWN, UP = "down", "up"
CLEAR, BORDER, END = "clear", "border", "end"
"""In full view; by somebody whom the picture's border cuts off; in the last three frames of the clip."""

_CSV = Path(__file__).with_name("vtest_crossings.csv")
_LINE = across((0, 330), (768, 330), direction_xy=(0, 100))
_EARLIER, _LATER, _ASIDE_PX = 12, 15, 90
"""How far, in frames and in pixels, what was told may be from what was seen: it is told beyond the band, so later."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Somebody went across the line; how well that is seen is one of the kinds above."""

    frame_id: int
    x: int
    direction: str
    kind: str = CLEAR


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was told against what was seen."""

    told: list[Crossing]
    missed: list[Crossing]
    false: list[Crossing]

    def count(self, direction: str) -> int:
        """How many were told that went this way, right or wrong."""
        return sum(crossing.direction == direction for crossing in self.told)


class _Diary:
    """A rule that writes down at which frame it told what."""

    def __init__(self, rule: CrossingRule) -> None:
        self._rule = rule
        self.told: list[Crossing] = []

    def update(self, frame: RuleFrame) -> list[RuleEvent]:
        events = self._rule.update(frame)
        for event in events:
            x = (event.box_xyxy[0] + event.box_xyxy[2]) // 2
            self.told.append(Crossing(round(frame.clock_s * FPS), x, DOWN if event.direction == IN else UP))
        return events

    def reset(self) -> None:
        self._rule.reset()

    def __len__(self) -> int:
        return len(self._rule)


def seen() -> list[Crossing]:
    """The truth, by frame."""
    with _CSV.open(newline="") as file:
        return [
            Crossing(int(row["frame"]), int(row["x"]), row["direction"], row["kind"]) for row in csv.DictReader(file)
        ]


def told_of(found: Found, *, interval: int) -> list[Crossing]:
    """What the chain of samples/tripwire tells of objects found in every ``interval``-th frame."""
    diary = _Diary(CrossingRule(_LINE))
    events_of(diary, found, interval=interval, size_wh=SIZES_WH[CLIP], fps=FPS)
    return diary.told


def compare(told: Iterable[Crossing]) -> Comparison:
    """Pairs what was told with what was seen of the same direction, near it in time and place."""
    told, missed = list(told), []
    free = list(told)
    for truth in seen():
        near = [one for one in free if _may_be(one, truth)]
        if near:
            free.remove(min(near, key=lambda one: abs(one.frame_id - truth.frame_id)))
        else:
            missed.append(truth)
    return Comparison(told, missed, free)


def _may_be(told: Crossing, truth: Crossing) -> bool:
    return (
        told.direction == truth.direction
        and -_EARLIER <= told.frame_id - truth.frame_id <= _LATER
        and abs(told.x - truth.x) <= _ASIDE_PX
    )
