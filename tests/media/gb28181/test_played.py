from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streamserver.media.gb28181.played import PlayedTime, Recording

BEGIN = datetime(2023, 10, 24, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "played_s", "rate"),
    [
        ([], 0.0, None),
        ([5.0, None, 5.0], 0.0, None),
        ([0.0, 0.04, None, 0.08, 0.08], 0.08, 25.0),
        ([0.0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.20], 0.24, 25.0),
        ([0.0, 1.0, 500.0, 501.0], 2.0, 1.0),
        ([100.0, 101.0, 0.0, 1.0], 2.0, 1.0),
        ([95443.7, 0.0], 0.018, None),
    ],
)
def test_only_steps_forward_count_and_no_gaps(seconds: list[float | None], played_s: float, rate: float | None) -> None:
    played = PlayedTime()
    for second in seconds:
        played.note(None if second is None else round(second * 90_000) % (1 << 33))
    assert played.seconds == pytest.approx(played_s, abs=0.001)
    if played_s > 0.02:
        assert played.rate == (rate if rate is None else pytest.approx(rate))


def played_of(seconds: int, *, key_every: int) -> PlayedTime:
    played = PlayedTime()
    for second in range(seconds + 1):
        played.note(second * 90_000, is_key=second % key_every == 0)
    return played


def test_a_recording_goes_on_where_it_has_certainly_been_played() -> None:
    recording = Recording(BEGIN, BEGIN + timedelta(seconds=30))
    assert recording.rest_begins == BEGIN
    recording.plays(played_of(13, key_every=4))
    recording.broke_off()
    recording.broke_off()
    assert recording.rest_begins == BEGIN + timedelta(seconds=9)
    recording.plays(played_of(3, key_every=4))
    recording.broke_off()
    assert recording.rest_begins == BEGIN + timedelta(seconds=9)
    recording.plays(played_of(10, key_every=4))
    recording.broke_off()
    assert recording.rest_begins == BEGIN + timedelta(seconds=15)


@pytest.mark.parametrize(("seconds", "is_played"), [(0, False), (27, False), (28, True), (31, True)])
def test_a_recording_has_been_played_when_no_more_than_two_seconds_are_missing(seconds: int, is_played: bool) -> None:
    recording = Recording(BEGIN, BEGIN + timedelta(seconds=30))
    recording.plays(played_of(seconds, key_every=2))
    assert recording.is_played == is_played


def test_a_recording_that_is_hung_up_three_times_without_anything_new_has_ended() -> None:
    recording = Recording(BEGIN, BEGIN + timedelta(seconds=60))
    recording.plays(played_of(20, key_every=2))
    assert not recording.hung_up()
    assert not recording.hung_up()
    recording.plays(played_of(10, key_every=2))
    assert not recording.hung_up()
    assert [recording.hung_up() for _ in range(3)] == [False, False, True]


def test_a_recording_of_which_nothing_was_seen_has_not_ended() -> None:
    recording = Recording(BEGIN, BEGIN + timedelta(seconds=60))
    recording.plays(PlayedTime())
    assert not any(recording.hung_up() for _ in range(10))
