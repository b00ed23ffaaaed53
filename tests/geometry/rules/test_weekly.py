from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.geometry.rules.weekly import WeeklySchedule, WeeklyWindow
from tests.searching import examples

SAT, SUN = 5, 6
MINUTE_S = 60

WEEKS = {
    "office hours": [(day, 480, 1200) for day in range(5)],
    "every night": [(day, 1320, 360) for day in range(7)],
    "sunday night": [(SUN, 1380, 300)],
    "the hour of the change": [(SUN, 120, 180)],
    "half of the hour of the change": [(SUN, 150, 151), (SAT, 1439, 1440)],
    "the whole sunday": [(SUN, 0, 1440)],
    "a whole day from eight to eight": [(SAT, 480, 480)],
    "overlapping": [(SAT, 600, 120), (SUN, 60, 200), (SUN, 100, 1440)],
}


def schedule(zone: str, windows: list[tuple[int, int, int]]) -> WeeklySchedule:
    return WeeklySchedule(ZoneInfo(zone), tuple(WeeklyWindow(*window) for window in windows))


def on_minutes(zone: ZoneInfo, windows: list[tuple[int, int, int]], days: list[date]) -> Iterator[int]:
    """By the calendar: each minute on the wall of each window that begins on one of ``days``, as epoch minutes."""
    for day in days:
        for weekday, start, end in windows:
            if weekday != day.weekday():
                continue
            length = end - start if end > start else end - start + 1440
            for minute in range(start, start + length):
                wall = datetime.combine(day, time()) + timedelta(minutes=minute)
                for fold in (0, 1):
                    moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
                    if moment.astimezone(zone).replace(tzinfo=None) == wall:  # a minute left out never comes
                        yield int(moment.timestamp()) // MINUTE_S


@pytest.mark.parametrize("windows", WEEKS.values(), ids=WEEKS)
@pytest.mark.parametrize(
    ("zone", "sunday"),
    [
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("Asia/Shanghai", date(2026, 3, 29)),
        ("Asia/Kathmandu", date(2026, 10, 25)),
    ],
    ids=["Berlin forward", "Berlin back", "Shanghai", "Kathmandu"],
)
def test_every_minute_around_a_change_of_the_clock_is_as_the_calendar_says(
    zone: str, sunday: date, windows: list[tuple[int, int, int]]
) -> None:
    place = ZoneInfo(zone)
    expected = set(on_minutes(place, windows, [sunday + timedelta(days=n) for n in range(-3, 4)]))
    first = int(datetime.combine(sunday - timedelta(days=1), time(), UTC).timestamp()) // MINUTE_S
    weekly = schedule(zone, windows)
    got = {minute for minute in range(first, first + 3 * 1440) if weekly.is_on(minute * 60_000_000 + 59_999_999)}
    assert got == {minute for minute in expected if first <= minute < first + 3 * 1440}


def test_an_hour_that_comes_twice_is_inside_twice_and_one_left_out_never_comes() -> None:
    twice = schedule("Europe/Berlin", [(SUN, 120, 180)])

    def minutes_of(day: date) -> int:
        start = int(datetime.combine(day, time(), ZoneInfo("Europe/Berlin")).timestamp())
        return sum(twice.is_on((start + minute * MINUTE_S) * 1_000_000) for minute in range(25 * 60))

    assert minutes_of(date(2026, 10, 25)) == 120
    assert minutes_of(date(2026, 3, 29)) == 0
    assert minutes_of(date(2026, 3, 22)) == 60


@settings(max_examples=examples(40))
@given(
    windows=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 1439), st.integers(1, 1440)), min_size=1, max_size=4, unique=True
    ),
    offset=st.integers(0, 7 * 1440 - 1),
)
def test_any_week_agrees_with_the_calendar(windows: list[tuple[int, int, int]], offset: int) -> None:
    moment = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(minutes=offset)
    zone = ZoneInfo("America/New_York")
    expected = set(on_minutes(zone, windows, [moment.date() + timedelta(days=n) for n in (-2, -1, 0, 1)]))
    minute = int(moment.timestamp()) // MINUTE_S
    assert schedule("America/New_York", windows).is_on(minute * 60_000_000) == (minute in expected)


def test_what_has_no_time_is_always_inside() -> None:
    assert schedule("UTC", []).is_on(0)
    assert not schedule("UTC", []).is_on(1)


def test_the_answer_follows_the_time_also_back_and_forth() -> None:
    weekly = schedule("UTC", [(day, 480, 481) for day in range(7)])
    inside, outside = 480 * 60_000_000, 481 * 60_000_000
    answers = [weekly.is_on(at) for at in (inside, inside + 1, outside, inside, outside - 1, outside)]
    assert answers == [True, True, False, True, True, False]


def test_time_zones_are_there_also_where_the_system_has_none() -> None:
    code = "import sys, zoneinfo; print(zoneinfo.ZoneInfo('Europe/Berlin'), 'tzdata' in sys.modules)"
    command, environment = [sys.executable, "-c", code], {"PYTHONTZPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["Europe/Berlin", "True"]
