from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamserver.geometry.rules.schedule import DailyWindow, is_on, parse_time_of_day


@pytest.fixture
def shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time eight hours ahead of UTC, whatever zone files the machine has."""
    monkeypatch.setenv("TZ", "CST-8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at_us(clock: str, *, microseconds: int = 0) -> int:
    """A moment of 2 January 1970, local time of Shanghai."""
    return (86_400 + parse_time_of_day(clock) - 8 * 3600) * 1_000_000 + microseconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00 00 00", 0),
        ("08:30:00", 30_600),
        ("08 30 00", 30_600),
        ("23 59 59", 86_399),
        ("23:59:59", 86_399),
        (" 8:5:1 ", 29_101),
        ("24:00:00", 86_400),
    ],
)
def test_both_spellings_are_read_in_full(text: str, seconds: int) -> None:
    assert parse_time_of_day(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "8:30", "25:00:00", "24:00:01", "08:60:00", "08:00:60", "083000", "None", "-1:00:00"]
)
def test_what_is_no_time_of_day_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"got '{text}'"):
        parse_time_of_day(text)


@pytest.mark.usefixtures("shanghai")
@pytest.mark.parametrize(
    ("start", "end", "clock", "on"),
    [
        ("08:00:00", "17:30:00", "08:00:00", True),
        ("08:00:00", "17:30:00", "07:59:59", False),
        ("08:00:00", "17:30:00", "17:30:00", True),
        ("08:00:00", "17:30:00", "17:30:01", False),
        ("22:00:00", "06:00:00", "23:30:00", True),
        ("22:00:00", "06:00:00", "03:00:00", True),
        ("22:00:00", "06:00:00", "12:00:00", False),
        ("00:00:00", "23:59:59", "23:59:59", True),
    ],
)
def test_windows_are_of_local_time_with_their_last_second(start: str, end: str, clock: str, on: bool) -> None:
    windows = (DailyWindow(parse_time_of_day(start), parse_time_of_day(end)),)
    assert is_on(windows, at_us(clock)) is on
    assert is_on(windows, at_us(clock, microseconds=999_999)) is on


@pytest.mark.usefixtures("shanghai")
def test_the_standard_all_day_window_misses_nothing() -> None:
    windows = (DailyWindow(parse_time_of_day("00 00 00"), parse_time_of_day("23 59 59")),)
    assert all(is_on(windows, second * 1_000_000 + 999_000) for second in range(86_400, 2 * 86_400, 7))


def test_a_picture_without_a_time_is_in_any_window_but_not_in_none() -> None:
    assert is_on((DailyWindow(5, 6),), 0)
    assert not is_on((), 0)
    assert not is_on((), 1)


@pytest.mark.usefixtures("shanghai")
def test_one_window_of_several_is_enough() -> None:
    windows = (DailyWindow(0, 10), DailyWindow(43_200, 43_210))
    assert is_on(windows, at_us("12:00:05"))
