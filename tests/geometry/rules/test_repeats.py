from __future__ import annotations

import pytest

from streamserver.geometry.rules.repeats import Repeats


def due_steps(repeats: Repeats, steps: range | list[int], name: str = "a") -> list[int]:
    return [step for step in steps if name in repeats.update(step, [name])]


@pytest.mark.parametrize(
    ("first", "every", "expected"),
    [
        (0, 1, [0, 1, 2, 3, 4, 5, 6]),
        (2, 1, [2, 3, 4, 5, 6]),
        (0, 3, [0, 3, 6]),
        (2, 3, [2, 5]),
        (2, 0, [2, 3, 4, 5, 6]),
        (-5, -5, [0, 1, 2, 3, 4, 5, 6]),
        (1, 10_000, [1]),
        (20, 1, []),
    ],
)
def test_an_object_is_due_after_the_first_frames_and_then_at_intervals(
    first: int, every: int, expected: list[int]
) -> None:
    assert due_steps(Repeats(first=first, every=every), range(7)) == expected


def test_a_short_absence_costs_nothing() -> None:
    assert due_steps(Repeats(first=2, every=1000), [0, 1, 20, 21]) == [20]


@pytest.mark.parametrize(("every", "forget_after"), [(1, 30), (30, 30), (300, 300), (50_000, 10_000)])
def test_an_object_is_forgotten_after_a_long_absence(every: int, forget_after: int) -> None:
    repeats = Repeats(first=0, every=every)
    assert repeats.forget_after == forget_after
    assert due_steps(repeats, [0, 1 + forget_after]) == [0, 1 + forget_after]
    again = Repeats(first=0, every=max(every, 2))
    assert due_steps(again, [0, again.forget_after]) == [0]


def test_the_next_alarm_does_not_come_early_to_those_who_leave_for_a_while() -> None:
    repeats = Repeats(first=0, every=300)
    assert due_steps(repeats, [0, *range(200, 210)]) == [0]


def test_a_name_given_twice_counts_once() -> None:
    repeats = Repeats(first=1, every=1)
    assert repeats.update(0, ["a", "a"]) == set()
    assert repeats.update(1, ["a"]) == {"a"}


def test_others_do_not_disturb() -> None:
    repeats = Repeats(first=1, every=1)
    repeats.update(0, ["a"])
    repeats.update(1, ["b"])
    assert repeats.update(2, ["a"]) == {"a"}


def test_memory_is_bounded_by_recent_frames_and_a_reset_empties_it() -> None:
    repeats = Repeats(first=0, every=1)
    for step in range(1000):
        repeats.update(step, [step])
        assert len(repeats) <= 31
    repeats.reset()
    assert len(repeats) == 0
