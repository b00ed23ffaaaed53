from __future__ import annotations

import pytest

from streamserver.business.breaker import FAILURES, OUTAGE_PROBE_S, Breaker
from streamserver.business.routing import BACKOFF_S, Routing, is_refused, retry_delay_s
from streamserver.core.errors import AlarmRefusedError, DeliveryError


def breakers(*states: str) -> list[Breaker]:
    """One a state: ``ok``, or ``bad``, which has failed at 0 s."""
    made = []
    for state in states:
        breaker = Breaker(jitter=lambda low, high: high)
        for _ in range(FAILURES if state == "bad" else 0):
            breaker.failed(0.0)
        made.append(breaker)
    return made


@pytest.mark.parametrize(
    ("states", "start", "asked", "now", "expected"),
    [
        (["ok", "ok", "ok"], 0, (), 0.0, [0, 1, 2]),
        (["ok", "ok", "ok"], 2, (), 0.0, [2, 0, 1]),
        (["ok", "ok", "ok"], 2, (0, 2), 0.0, [1]),
        (["ok", "bad", "ok"], 1, (), 0.0, [2, 0]),
        (["ok", "bad", "ok"], 1, (), 2.0, [1, 2, 0]),
        (["ok", "bad", "ok"], 2, (), 2.0, [2, 0, 1]),
        (["bad", "bad"], 0, (), OUTAGE_PROBE_S - 0.1, []),
        (["bad", "bad"], 1, (), OUTAGE_PROBE_S, [1, 0]),
        (["bad", "bad"], 1, (1,), OUTAGE_PROBE_S, [0]),
    ],
)
def test_who_may_be_asked(
    states: list[str], start: int, asked: tuple[int, ...], now: float, expected: list[int]
) -> None:
    assert Routing(breakers(*states)).candidates(start, asked, now) == expected


def test_starts_go_round() -> None:
    routing = Routing(breakers("ok", "bad", "ok"))
    assert [routing.begin() for _ in range(5)] == [0, 1, 2, 0, 1]


def test_an_outage_is_when_all_are_open() -> None:
    assert not Routing([]).outage
    assert not Routing(breakers("bad", "ok")).outage
    routing = Routing(breakers("bad", "bad"))
    assert routing.outage and routing.probes_due(0.0) == []
    assert routing.probe_in(0.5) == OUTAGE_PROBE_S - 0.5
    assert routing.probes_due(OUTAGE_PROBE_S) == [0, 1]


@pytest.mark.parametrize(("attempt", "limit_s"), [*enumerate(BACKOFF_S, 1), (0, 1.0), (7, 1800.0), (1000, 1800.0)])
def test_the_wait_is_anything_up_to_the_step_s_limit(attempt: int, limit_s: float) -> None:
    assert retry_delay_s(attempt, lambda low, high: high) == limit_s
    assert retry_delay_s(attempt, lambda low, high: low) == 0


def test_refused_means_by_everybody_and_for_the_alarm_s_sake() -> None:
    refusal, failure = AlarmRefusedError("413"), DeliveryError("503")
    assert is_refused([refusal, refusal], 2)
    assert not is_refused([refusal, failure], 2)
    assert not is_refused([refusal], 2), "one was left out"
