"""Plate texts, and when a plate is reported."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.plates import PlateBook, PlateRule, Sighting, edits, is_plate, is_whole, tidy


@pytest.mark.parametrize(
    ("text", "cn", "any_"),
    [
        ("皖A12345", True, True),
        ("京AD12345", True, True),
        ("粤ZP560港", True, True),
        ("京A1234警", True, True),
        ("沪A0023领", True, True),
        ("224578使", True, True),
        ("皖A1234", False, True),
        ("皖AA1234567", False, True),
        ("皖1A2345", False, True),
        ("警A12345", False, True),
        ("皖A港2345", False, True),
        ("B1234", False, True),
        ("ABCD", False, False),
        ("123", False, False),
        ("", False, False),
        ("###", False, False),
    ],
)
def test_what_can_be_a_plate(text: str, cn: bool, any_: bool) -> None:
    assert (is_plate(text, "cn"), is_plate(text, "any")) == (cn, any_)


@pytest.mark.parametrize(
    ("text", "rule", "tidied"),
    [
        ("皖A·12O45", "cn", "皖A12045"),
        ("皖O12I45", "cn", "皖O12145"),
        ("ab-12 o", "any", "AB12O"),
    ],
)
def test_separators_go_and_chinese_plates_have_no_o_and_i(text: str, rule: PlateRule, tidied: str) -> None:
    assert tidy(text, rule) == tidied


@given(st.text("ab1", max_size=7), st.text("ab1", max_size=7), st.text("ab1", max_size=7))
def test_edits_are_a_distance(first: str, second: str, third: str) -> None:
    assert edits(first, second) == edits(second, first) <= max(len(first), len(second))
    assert (edits(first, second) == 0) == (first == second)
    assert edits(first, third) <= edits(first, second) + edits(second, third)


@given(st.text("ab1", min_size=1, max_size=9), st.data())
def test_one_change_is_one_edit(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    assert edits(text, text[:place] + text[place + 1 :]) == 1
    assert edits(text, text[:place] + "x" + text[place + 1 :]) == 1
    assert edits(text, text[:place] + "x" + text[place:]) == 1


@pytest.mark.parametrize(
    ("box", "whole"),
    [
        ((10, 10, 60, 30), True),
        ((1, 10, 60, 30), False),
        ((10, 0, 60, 30), False),
        ((10, 10, 198, 30), False),
        ((10, 10, 196, 30), True),
        ((30, 30, 130, 98), False),
    ],
)
def test_a_plate_at_the_edge_is_cut_off(box: tuple[int, int, int, int], whole: bool) -> None:
    assert is_whole(box, (200, 100)) == whole
    assert is_whole(box, (0, 0))


class Reading:
    """A book fed with texts, one plate a frame; ``None`` is a frame without the plate."""

    def __init__(self, **options: object) -> None:
        self.book = PlateBook(**{"enter_frames": 3, "leave_frames": 5, **options})  # type: ignore[arg-type]

    def feed(self, *texts: str | None, track: int | None = 7, start: int = 0) -> list[tuple[int, str]]:
        """Frame and text of each report."""
        reported = []
        for step, text in enumerate(texts, start):
            due = self.book.update(step, [] if text is None else [Sighting(text, track)])
            reported += [(step, one) for one in due]
        return reported


A, B, C = "皖A12345", "皖A12346", "皖A99346"


def test_a_plate_is_reported_once_after_three_frames() -> None:
    assert Reading().feed(*[A] * 20) == [(2, A)]


def test_it_is_forgotten_after_five_frames_without_it() -> None:
    assert Reading().feed(*[A] * 3, *[None] * 4, *[A] * 5) == [(2, A)]
    assert Reading().feed(*[A] * 3, *[None] * 5, *[A] * 5) == [(2, A), (10, A)]


def test_frames_that_were_not_posted_count_as_frames_without_it() -> None:
    reading = Reading()
    assert reading.feed(A, A, A) == [(2, A)]
    assert reading.feed(A, A, A, start=8) == [(10, A)]


def test_an_early_misread_of_the_track_delays_the_report_and_is_not_reported() -> None:
    assert Reading().feed(B, B, A, A, A, A) == [(4, A)]


def test_a_later_misread_of_the_track_is_the_same_plate() -> None:
    assert Reading().feed(A, A, A, B, B, B, B, A, A) == [(2, A)]


def test_another_plate_under_the_same_track_is_another_plate() -> None:
    assert Reading().feed(A, A, A, C, C, C) == [(2, A), (5, C)]


def test_the_same_plate_under_another_track_is_the_same_plate() -> None:
    reading = Reading()
    assert reading.feed(A, A, A) == [(2, A)]
    assert reading.feed(A, A, A, A, track=8, start=5) == []
    assert reading.feed(B, B, B, B, track=9, start=10) == []
    assert len(reading.book) == 1


def test_two_plates_that_differ_in_one_character_are_two_while_both_are_there() -> None:
    book = PlateBook(enter_frames=3, leave_frames=5)
    due = [book.update(step, [Sighting(A, 1), Sighting(B, 2)]) for step in range(6)]
    assert due == [[], [], [A, B], [], [], []]


def test_two_objects_with_one_text_are_one_plate() -> None:
    book = PlateBook(enter_frames=2, leave_frames=5)
    assert [book.update(step, [Sighting(A, 1), Sighting(A, 2)]) for step in range(4)] == [[], [A], [], []]


def test_what_cannot_be_a_plate_is_never_reported_but_does_not_end_a_known_plate_s_stay() -> None:
    assert Reading().feed(*["皖A1"] * 9) == []
    assert Reading(enter_frames=5, settle_frames=2).feed(A, A, "皖", "###", A, A) == [(4, A)]


def test_without_tracks_texts_count() -> None:
    assert Reading().feed(A, A, A, C, C, C, track=None) == [(2, A), (5, C)]


def test_a_gap_breaks_a_run_unless_the_book_is_patient() -> None:
    texts = [A, A, None, A, A, A, A]
    assert Reading().feed(*texts) == [(5, A)]
    assert Reading(patient=True).feed(*texts) == [(3, A)]


def test_a_long_stay_survives_a_misread_but_settles_first() -> None:
    texts = [A, A, A, A, B, A, A, A]
    assert Reading(enter_frames=6, patient=True).feed(*texts) == [(7, A)]


def test_a_plate_at_the_edge_is_not_reported_before_it_is_whole() -> None:
    book = PlateBook(enter_frames=2, leave_frames=5)
    due = [book.update(step, [Sighting(B, 1, whole=False)]) for step in range(4)]
    due += [book.update(step, [Sighting(A, 1)]) for step in range(4, 8)]
    assert due == [[], [], [], [], [], [A], [], []]


def test_a_smaller_step_means_that_the_source_started_over() -> None:
    reading = Reading()
    assert reading.feed(A, A, A) == reading.feed(A, A, A) == [(2, A)]


def test_memory_holds_the_last_frames_only() -> None:
    book, chance = PlateBook(enter_frames=3, leave_frames=5), random.Random(2)
    for step in range(3000):
        text = f"皖A{chance.randrange(100000):05d}"
        book.update(step, [Sighting(text, step)])
        assert len(book) <= 6
