"""Addresses that are away or slow: how often they are asked, and how soon they are found again."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from streamserver.business.breaker import LONGEST_PROBE_S, OUTAGE_PROBE_S, PATIENCE_S
from streamserver.business.slots import LONGEST_TURN_S, WATCHED_S, Slots
from tests.business.stepping import Address, Clock, Make, bodies, body


@pytest.mark.parametrize("listens", [True, False], ids=["answers badly", "does not listen"])
def test_in_an_outage_each_address_is_only_probed_and_back_within_two_seconds(
    make: Make, clock: Clock, listens: bool
) -> None:
    addresses = [Address(name, clock, works=False) for name in "ab"]
    for address in addresses:
        address.listens = listens
    bench = make(*addresses)
    bench.add(*range(500))
    bench.run(3600)
    tries = [address.asked + address.knocks for address in addresses]
    assert all(3600 / 2 <= count <= 3600 / OUTAGE_PROBE_S + 10 for count in tries)
    if not listens:
        assert sum(address.asked for address in addresses) < 12, "no alarm is spent on an address that nobody is at"
    assert "a:" in bench.dispatch.last_error or "b:" in bench.dispatch.last_error
    assert bench.dispatch.outage
    back_at = clock.now
    for address in addresses:
        address.works = address.listens = True
    bench.run(2)
    assert min(at for address in addresses for at in address.taken_at) - back_at <= 2
    assert sorted(addresses[0].bodies() + addresses[1].bodies()) == sorted(bodies(range(500)))
    for number in range(500, 504):
        bench.add(number)
        bench.run(1)
    assert all(address.taken for address in addresses), "the other one is found at once, too"
    assert not bench.dispatch.outage


@pytest.mark.parametrize("listens", [True, False], ids=["answers badly", "does not listen"])
def test_a_long_outage_is_quiet_and_its_end_is_found_in_half_a_minute(
    make: Make, clock: Clock, listens: bool, caplog: pytest.LogCaptureFixture
) -> None:
    a, hours = Address("a", clock, works=False), 3
    a.listens = listens
    bench = make(a, shared="receivers")
    began = clock.now
    for hour in range(hours):
        bench.add(*range(10 * hour, 10 * hour + 10))
        bench.run(3600)
    tried_at = sorted(a.asked_at + a.knocked_at)
    pauses = [after - before for before, after in itertools.pairwise(tried_at)]
    watched = [pause for pause, at in zip(pauses, tried_at[1:], strict=True) if at - began <= WATCHED_S]
    assert max(watched) <= 2 and max(pauses) <= 30
    assert len(tried_at) < WATCHED_S + hours * 3600 / (LONGEST_TURN_S - 2)
    assert len(caplog.records) <= 6, "it began, and that is told once"
    a.works = a.listens = True
    bench.run(30)
    assert sorted(a.bodies()) == sorted(bodies(range(10 * hours)))
    bench.add(1000)
    bench.run()
    assert a.taken[-1].body == body(1000) and "delivered again" in caplog.text


def test_what_begins_in_an_outage_of_others_spends_one_alarm_and_is_not_late(make: Make, clock: Clock) -> None:
    a = Address("a", clock, works=False)
    first = make(a, shared="receivers")
    first.add(*range(10))
    first.run(10)
    spent = a.asked
    for number in range(5):
        other = make(a, shared="receivers", box=f"box {number}")
        other.add(*range(10 * number, 10 * number + 10))
        other.run(0.1)
    assert a.asked <= spent + 1, "it is known, and it is one's turn"
    a.works = True
    other.run(2)
    assert other.box.counters.pending == 0


def test_what_one_finds_out_at_the_end_of_a_long_outage_all_know(make: Make, clock: Clock, tmp_path: Path) -> None:
    a = Address("a", clock)
    slots = Slots(tmp_path / "receivers", "a", 1)
    for second in range(4000):
        slots.note(clock.now - 4000 + second, well=False)
    benches = [make(a, shared="receivers", box=name) for name in ("one", "other")]
    for number, bench in enumerate(benches):
        bench.add(number)
        bench.run(0.1)
    assert not a.asked, "it is nobody's turn"
    for _ in range(100):
        for bench in benches:
            bench.run(0.1)
    assert not a.asked, "still not"
    while not a.asked:
        for bench in benches:
            bench.run(0.1)
    assert clock.now - 5000 < 30
    for _ in range(20):
        for bench in benches:
            bench.run(0.1)
    assert sorted(a.bodies()) == bodies((0, 1))


def test_an_outage_that_comes_and_goes_loses_nothing_and_ends_in_time(make: Make, clock: Clock) -> None:
    address = Address("a", clock, works=False)
    bench = make(address)
    bench.add(*range(40))
    bench.run(1800)
    address.works = True
    while len(address.taken) < 2:
        bench.run(0.1)
    address.works = False
    bench.run(20)
    address.works = True
    bench.run(4)
    assert sorted(address.bodies()) == sorted(bodies(range(40)))


def test_what_waits_long_at_the_start_is_tried_at_once(make: Make, clock: Clock) -> None:
    address = Address("a", clock, works=False)
    bench = make(address)
    bench.add(1, 2)
    bench.run(1800)
    address.works = True
    bench.restart()
    bench.run(0.1)
    assert len(address.taken) == 2


def test_one_of_three_that_does_not_answer_delays_no_alarm_for_long_and_is_found_again(
    make: Make, clock: Clock
) -> None:
    hung = Address("hung", clock, works=False, takes_s=10.0)
    others = [Address("b", clock), Address("c", clock)]
    bench = make(hung, *others)
    raised_at = {}
    for number in range(150):
        raised_at[body(number)] = clock.now
        bench.add(number)
        bench.run(2)
    arrived_at = {alarm.body: at for other in others for alarm, at in zip(other.taken, other.taken_at, strict=True)}
    delays = sorted(arrived_at[key] - raised_at[key] for key in raised_at)
    assert delays[-1] <= PATIENCE_S + 0.1
    assert delays[int(0.94 * len(delays))] == 0
    hung.works, hung.takes_s = True, 0.1
    for number in range(150, 200):
        bench.add(number)
        bench.run(2)
    assert len(hung.taken) >= 5, "it has its turns again"


def test_one_of_three_that_fails_is_left_out_but_for_probes(make: Make, clock: Clock) -> None:
    bad = Address("bad", clock, works=False)
    others = [Address("b", clock), Address("c", clock)]
    bench = make(bad, *others)
    for number in range(1000):
        bench.add(number)
        bench.run(1)
    assert sum(len(other.taken) for other in others) == 1000
    gaps = [after - before for before, after in itertools.pairwise(bad.asked_at)]
    assert bad.asked < 3 + 6 + 1000 / LONGEST_PROBE_S
    assert max(gaps) <= LONGEST_PROBE_S + 3, "it comes to its turn within three alarms"


def test_the_only_address_has_all_its_time(make: Make, clock: Clock) -> None:
    slow = Address("slow", clock, takes_s=9.0)
    bench = make(slow)
    bench.add(1, 2)
    bench.run(9.1)
    assert slow.bodies() == bodies((1, 2)) and slow.asked == 2


def test_addresses_that_are_always_slow_get_few_alarms_twice(make: Make, clock: Clock) -> None:
    addresses = [Address(name, clock, takes_s=1.5) for name in "abc"]
    bench = make(*addresses)
    for number in range(100):
        bench.add(number)
        bench.run(2)
    bench.run(10)
    assert {alarm.body for address in addresses for alarm in address.taken} == set(bodies(range(100)))
    assert sum(len(address.taken) for address in addresses) <= 100 + 3
    assert min(len(address.taken) for address in addresses) > 20
