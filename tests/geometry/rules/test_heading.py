from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry.rules.heading import Heading


def box_at(x: float, height: float = 50) -> list[float]:
    return [x - 10, 100, x + 10, 100 + height]


def findings(heading: Heading, xs: list[float], height: float = 50) -> list[bool]:
    return [bool(heading.update(step, np.array([1]), [box_at(x, height)])[0]) for step, x in enumerate(xs)]


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ([0, 10, 20, 30, 40], [False, False, True, True, True]),
        ([40, 30, 20, 10, 0], [False, False, False, False, False]),
        ([0, 10, 20, 10, 0], [False, False, True, True, False]),
        ([0, 1, 0, 1, 0], [False, False, False, False, False]),
    ],
)
def test_a_finding_needs_two_samples_and_holds_between_them(xs: list[float], expected: list[bool]) -> None:
    assert findings(Heading((5, 0), interval=2), xs) == expected


def test_moving_sideways_or_trembling_is_not_moving_along() -> None:
    assert not any(findings(Heading((0, 1), interval=1), [0, 10, 20]))
    assert findings(Heading((1, 0), interval=1), [0, 3, 6], height=50) == [False, True, True]
    assert findings(Heading((1, 0), interval=1), [0, 3, 6], height=400) == [False, False, False]


def test_each_object_is_judged_for_itself_and_those_without_a_track_never_pass() -> None:
    heading = Heading((1, 0), interval=1)
    ids = np.array([1, 2, 0])
    heading.update(0, ids, [box_at(0), box_at(100), box_at(50)])
    assert heading.update(1, ids, [box_at(20), box_at(80), box_at(80)]).tolist() == [True, False, False]
    assert heading.update(2, np.zeros(0, dtype=np.int64), []).tolist() == []


def test_a_track_is_forgotten_after_twenty_intervals() -> None:
    heading = Heading((1, 0), interval=0)
    heading.update(0, np.array([1]), [box_at(0)])
    heading.update(20, np.array([2]), [box_at(0)])
    assert len(heading) == 2
    heading.update(21, np.array([2]), [box_at(0)])
    assert len(heading) == 1
    heading.reset()
    assert len(heading) == 0
