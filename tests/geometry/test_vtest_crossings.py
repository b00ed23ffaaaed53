"""Crossings of a busy square, counted by the whole chain, against those that people see in the clip."""

from __future__ import annotations

import pytest

from tests import assets
from tests.geometry.counting import people, pictures
from tests.truth.vtest import CLEAR, CLIP, DOWN, END, UP, Comparison, compare, seen, told_of

INTERVAL = 3


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(told_of(people(pictures(assets.clip(CLIP), interval=INTERVAL)), interval=INTERVAL))


@pytest.mark.parametrize("direction", [DOWN, UP])
def test_counts_are_within_a_tenth_of_what_is_seen(comparison: Comparison, direction: str) -> None:
    # in the last of the frames that are looked at nobody can tell that the last one has crossed
    visible = sum(crossing.direction == direction and crossing.kind != END for crossing in seen())
    assert 0.9 * visible <= comparison.count(direction) <= 1.1 * visible


def test_no_crossing_in_full_view_is_missed(comparison: Comparison) -> None:
    assert [crossing for crossing in comparison.missed if crossing.kind == CLEAR] == []


def test_nobody_is_told_who_did_not_cross(comparison: Comparison) -> None:
    assert comparison.false == []
