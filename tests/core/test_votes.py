"""Votes over readings."""

import pytest

from streamserver.core.votes import Votes


def counted(*readings: tuple[str, float], window: int = 10) -> Votes:
    votes = Votes(window=window)
    for text, weight in readings:
        votes.add(text, weight)
    return votes


@pytest.mark.parametrize(
    ("readings", "winner", "sure"),
    [
        ([], "", 0.0),
        ([("a", 0.9)], "a", 0.9),
        ([("a", 0.9), ("b", 0.5), ("b", 0.5)], "b", 1.0 / 1.9 * 0.5),
        ([("a", 0.5), ("b", 0.5)], "b", 0.25),
        ([("b", 0.5), ("a", 0.5)], "a", 0.25),
        ([("a", 1.0), ("a", 0.8), ("b", 0.2)], "a", 0.9 * 0.9),
        ([("a", 0.0)], "a", 0.0),
    ],
)
def test_the_heaviest_text_wins_and_of_equals_the_last(
    readings: list[tuple[str, float]], winner: str, sure: float
) -> None:
    text, share = counted(*readings).winner()
    assert (text, share) == (winner, pytest.approx(sure))


def test_old_readings_no_longer_count() -> None:
    votes = counted(("a", 1.0), ("a", 1.0), ("b", 0.4), ("b", 0.4), window=2)
    assert votes.winner() == ("b", pytest.approx(0.4))
    assert len(votes) == 2


def test_the_last_readings_may_be_kept_alone() -> None:
    votes = counted(("a", 1.0), ("a", 1.0), ("b", 0.4))
    votes.keep_last(1)
    assert votes.winner() == ("b", pytest.approx(0.4))
    votes.keep_last(5)
    assert len(votes) == 1
