from __future__ import annotations

import pytest

from streamserver.core.presence import Presence

A = "a"


def reports(presence: Presence[str], steps: dict[int, str]) -> dict[int, str]:
    """Feeds {step: names as letters}; returns {step: names reported}, without the steps that reported nothing."""
    told = {step: "".join(presence.update(step, names)) for step, names in steps.items()}
    return {step: names for step, names in told.items() if names}


def steps_of(pattern: str) -> dict[int, str]:
    """'aa.a' -> {0: 'a', 1: 'a', 3: 'a'}: a dot is a frame that the engine did not push."""
    return {step: letter for step, letter in enumerate(pattern) if letter != "."}


@pytest.mark.parametrize(
    ("pattern", "enter", "leave", "reported_at"),
    [
        ("aaaaaa", 3, 5, [2]),
        ("aa", 3, 5, []),
        ("a", 1, 5, [0]),
        ("aa.aa.aa.aaa", 3, 5, [11]),  # in a row, not in sum
        ("aaa.a.a.aaaa", 3, 5, [2]),  # gaps after the report change nothing
        ("aaa....aaa", 3, 5, [2]),  # absent 4 frames: not forgotten
        ("aaa.....aaa", 3, 5, [2, 10]),  # absent 5 frames: forgotten
        ("a.a.a", 1, 1, [0, 2, 4]),
        ("aaaa", 0, 0, [0]),  # limits below 1 count as 1
        ("aaa" + "." * 1000 + "aaa", 3, 5, [2, 1005]),
    ],
)
def test_an_object_is_reported_after_it_stayed_and_again_after_it_was_forgotten(
    pattern: str, enter: int, leave: int, reported_at: list[int]
) -> None:
    presence: Presence[str] = Presence(enter_frames=enter, leave_frames=leave)
    assert list(reports(presence, steps_of(pattern))) == reported_at


def test_a_frame_that_was_pushed_without_the_object_counts_like_one_that_was_not_pushed() -> None:
    pushed: Presence[str] = Presence(enter_frames=2, leave_frames=3)
    steps = {0: "a", 1: "a", 2: "", 3: "", 4: "", 5: "a", 6: "a"}
    assert reports(pushed, steps) == {1: "a", 6: "a"}


def test_objects_are_independent_and_come_in_the_order_given() -> None:
    presence: Presence[str] = Presence(enter_frames=2, leave_frames=2)
    assert reports(presence, {0: "b", 1: "ba", 2: "ab", 3: "cab", 4: "ac"}) == {1: "b", 2: "a", 4: "c"}
    fresh: Presence[str] = Presence(enter_frames=1, leave_frames=2)
    assert fresh.update(0, "cabca") == ["c", "a", "b"]


def test_a_name_twice_in_a_frame_and_a_frame_twice_count_once() -> None:
    presence: Presence[str] = Presence(enter_frames=3, leave_frames=5)
    assert presence.update(0, "aaa") == []
    assert [presence.update(1, "a") for _ in range(5)] == [[]] * 5
    assert presence.update(2, "a") == ["a"]
    assert presence.update(2, "a") == []


def test_a_source_that_starts_over_is_forgotten_also_when_the_last_frames_were_empty() -> None:
    presence: Presence[str] = Presence(enter_frames=1, leave_frames=100)
    assert presence.update(10, "a") == ["a"]
    assert presence.update(14, "") == []
    assert presence.update(12, "a") == ["a"]


def test_nothing_is_kept_of_objects_that_are_gone() -> None:
    presence: Presence[int] = Presence(enter_frames=2, leave_frames=5)
    for step in range(1000):
        presence.update(step, [step])
        assert len(presence) <= 5
    presence.update(1004, [])
    assert len(presence) == 0
