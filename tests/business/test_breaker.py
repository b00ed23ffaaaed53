from __future__ import annotations

import math

import pytest

from streamserver.business.breaker import (
    FAILURES,
    FIRST_PROBE_S,
    LONGEST_HOLD_S,
    LONGEST_PROBE_S,
    OUTAGE_PROBE_S,
    PATIENCE_S,
    Breaker,
)


def high(_low: float, high: float) -> float:
    return high


def broken(at: float = 0.0) -> Breaker:
    breaker = Breaker(jitter=high)
    for _ in range(FAILURES):
        fail(breaker, at)
    return breaker


def fail(breaker: Breaker, now: float, *, retry_after_s: float | None = None, unreachable: bool = False) -> None:
    probe = breaker.begun()
    breaker.ended()
    breaker.failed(now, probe=probe, retry_after_s=retry_after_s, unreachable=unreachable)


def succeed(breaker: Breaker, took_s: float = 0.1) -> None:
    breaker.begun()
    breaker.ended()
    breaker.took(took_s)


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            fail(breaker, 0.0)
        assert not breaker.open
        succeed(breaker)
    for _ in range(FAILURES):
        fail(breaker, 0.0)
    assert breaker.open


def test_the_probes_of_a_broken_address_grow_rare_and_begin_anew_after_a_success() -> None:
    breaker, now, waits = broken(), 0.0, []
    for _ in range(8):
        waits.append(breaker.probe_in(now, outage=False))
        now += waits[-1]
        assert breaker.probe_in(now - 0.01, outage=False) > 0
        fail(breaker, now)
    assert waits == [FIRST_PROBE_S, 4.0, 8.0, 16.0, 32.0, LONGEST_PROBE_S, LONGEST_PROBE_S, LONGEST_PROBE_S]
    succeed(breaker)
    assert not breaker.open
    for _ in range(FAILURES):
        fail(breaker, now)
    assert breaker.probe_in(now, outage=False) == FIRST_PROBE_S


@pytest.mark.parametrize("failures", [FAILURES, 20, 1000])
def test_in_an_outage_the_next_probe_is_never_far(failures: int) -> None:
    breaker = Breaker()
    for _ in range(failures):
        fail(breaker, 100.0)
    assert 0 < breaker.probe_in(100.0, outage=True) <= OUTAGE_PROBE_S < 2


def test_when_an_outage_is_over_the_other_addresses_are_probed_soon() -> None:
    breaker = broken()
    for _ in range(10):
        fail(breaker, 100.0)
    assert breaker.probe_in(100.0, outage=False) == LONGEST_PROBE_S
    breaker.hope()
    assert breaker.probe_in(100.0, outage=False) <= FIRST_PROBE_S
    fail(breaker, 102.0)
    assert breaker.probe_in(102.0, outage=False) == 2 * FIRST_PROBE_S


def test_there_is_one_probe_at_a_time() -> None:
    breaker = broken()
    assert breaker.begun(), "a probe"
    assert breaker.probe_in(1000.0, outage=True) == math.inf
    breaker.ended()
    assert breaker.probe_in(1000.0, outage=True) == 0


def test_failures_of_what_was_under_way_when_it_opened_make_probes_no_rarer() -> None:
    breaker = Breaker(jitter=high)
    tries = [breaker.begun() for _ in range(10)]
    for probe in tries:
        breaker.ended()
        breaker.failed(5.0, probe=probe)
    assert breaker.open and breaker.probe_in(5.0, outage=False) == FIRST_PROBE_S


def test_a_late_address_is_left_out_at_once_and_comes_back_with_its_answer() -> None:
    breaker = Breaker(jitter=high)
    probe = breaker.begun()
    breaker.late(1.0, probe=probe)
    assert breaker.open and breaker.probe_in(100.0, outage=False) == math.inf, "its answer is still awaited"
    breaker.ended()
    breaker.took(4.0)
    assert not breaker.open


def refuse(breaker: Breaker, now: float, alarm_id: str) -> bool:
    probe = breaker.begun()
    breaker.ended()
    return breaker.refused(now, alarm_id, probe=probe)


def test_an_alarm_is_to_blame_once_after_each_that_was_taken() -> None:
    breaker = Breaker(jitter=high)
    assert not refuse(breaker, 0.0, "x"), "who knows whether it takes anything"
    for _ in range(4):
        succeed(breaker)
        assert refuse(breaker, 0.0, "x") and not refuse(breaker, 1.0, "x") and refuse(breaker, 2.0, "y")
    for _ in range(100):
        assert not refuse(breaker, 3.0, "x")
    assert not breaker.open, "the address is well as far as anybody knows"


def test_who_refuses_several_and_takes_none_is_broken() -> None:
    breaker = Breaker(jitter=high)
    succeed(breaker)
    blamed = [refuse(breaker, 5.0, f"alarm {number}") for number in range(1000)]
    assert sum(blamed) == FAILURES - 1 and breaker.open
    assert breaker.probe_in(5.0, outage=True) == OUTAGE_PROBE_S and breaker.probe_in(5.0, outage=False) > 0
    succeed(breaker)
    assert not breaker.open
    assert refuse(breaker, 6.0, "alarm 0") and not breaker.open


def test_alarms_that_were_to_blame_before_do_not_make_an_address_broken() -> None:
    breaker = Breaker(jitter=high)
    for number in range(5):  # one bad alarm after another, with good ones between
        succeed(breaker)
        assert refuse(breaker, 0.0, f"bad {number}")
    for _ in range(3):
        succeed(breaker)
        assert all(refuse(breaker, 1.0, f"bad {number}") for number in range(5)) and not breaker.open
    assert not any(refuse(breaker, 2.0, f"bad {number}") for number in range(5)) and not breaker.open
    assert [refuse(breaker, 2.0, f"new {number}") for number in range(3)] == [True, True, False] and breaker.open


def test_what_others_found_out_is_probed_first() -> None:
    breaker = Breaker()
    breaker.begin_open()
    assert breaker.open and breaker.probe_in(5.0, outage=True) == breaker.probe_in(5.0, outage=False) == 0
    assert breaker.begun()


def test_patience_follows_the_usual_time() -> None:
    breaker = Breaker()
    assert breaker.patience_s == PATIENCE_S
    for _ in range(50):
        succeed(breaker, 0.01)
    assert breaker.patience_s == PATIENCE_S
    for _ in range(50):
        succeed(breaker, 2.0)
    assert breaker.patience_s == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize(("asked_s", "kept_s"), [(0.0, 1.5), (1.0, 1.5), (90.0, 90.0), (1e12, LONGEST_HOLD_S)])
@pytest.mark.parametrize("outage", [True, False])
def test_retry_after_opens_and_holds(asked_s: float, kept_s: float, outage: bool) -> None:
    breaker = Breaker(jitter=high)
    fail(breaker, 50.0, retry_after_s=asked_s)
    assert breaker.open
    assert breaker.probe_in(50.0, outage=outage) == (kept_s if outage else max(kept_s, FIRST_PROBE_S))
    breaker.hurry(50.0)
    assert breaker.probe_in(50.0, outage=outage) == min(asked_s, LONGEST_HOLD_S), "hurry does not break a promise"


def test_a_connection_makes_the_next_try_due() -> None:
    breaker = Breaker(jitter=high)
    for _ in range(FAILURES):
        fail(breaker, 10.0, unreachable=True)
    assert breaker.unreachable
    breaker.connected(11.0)
    assert breaker.open and not breaker.unreachable
    assert breaker.probe_in(11.0, outage=False) == breaker.probe_in(11.0, outage=True) == 0
