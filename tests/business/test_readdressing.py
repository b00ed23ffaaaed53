"""Other addresses for a dispatch at work."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streamserver.business.receiver import Receiver
from streamserver.sinks.file import FileSink
from tests.business.stepping import Address, Bench, Clock, Make, bodies


def readdressed(bench: Bench, *addresses: Address) -> None:
    """Gives the dispatch other addresses, as ``delivery.readdress`` does: those that stay are the same objects."""
    known = dict(zip(bench.addresses, bench.dispatch._receivers, strict=True))
    high = lambda _low, high: high  # noqa: E731
    fresh = {a: Receiver(a.name, lambda a=a: a, jitter=high) for a in addresses}  # type: ignore[misc]
    bench.dispatch.readdress([known.get(address) or fresh[address] for address in addresses])
    bench.addresses = bench.posters.addresses = list(addresses)


def test_alarms_go_to_other_addresses_from_one_to_the_next(make: Make, clock: Clock) -> None:
    a, b, c = (Address(name, clock) for name in "abc")
    bench = make(a, b)
    bench.add(0, 1)
    bench.run()
    readdressed(bench, b, c)
    bench.add(2, 3, 4, 5)
    bench.run()
    assert (a.bodies(), b.bodies(), c.bodies()) == (bodies([0]), bodies([1, 2, 4]), bodies([3, 5]))
    readdressed(bench, a)
    bench.add(6)
    bench.run()
    assert a.bodies() == bodies([0, 6])


def test_what_is_under_way_to_an_address_that_goes_comes_to_its_end_and_counts(make: Make, clock: Clock) -> None:
    old, new = Address("old", clock, takes_s=0.5), Address("new", clock)
    bench = make(old)
    bench.add(*range(4))
    bench.run(0.1)
    readdressed(bench, new)
    bench.add(4)
    bench.run(5.0)
    assert sorted(old.bodies()) == bodies(range(4)) and new.bodies() == bodies([4])
    assert bench.box.counters.delivered == 5


def test_what_an_address_that_goes_did_not_take_the_next_one_gets_at_once(make: Make, clock: Clock) -> None:
    old, stays, new = Address("old", clock, works=False, takes_s=0.5), Address("s", clock), Address("new", clock)
    bench = make(old, stays)
    bench.add(0)
    bench.run(0.1)
    readdressed(bench, new, stays)
    bench.run(1.0)
    assert len(old.asked_at) == 1 and new.bodies() + stays.bodies() == bodies([0])
    assert bench.box.counters.pending == 0 and bench.dispatch.last_error == ""


def test_a_new_address_gets_at_once_what_waits_for_one_that_is_broken(make: Make, clock: Clock) -> None:
    broken, good = Address("broken", clock, works=False), Address("good", clock)
    bench = make(broken)
    bench.add(*range(5))
    bench.run(100.0)
    assert bench.dispatch.outage
    asked = broken.asked
    readdressed(bench, broken, good)
    bench.run(0.5)
    assert sorted(good.bodies()) == bodies(range(5))
    assert not bench.dispatch.outage and bench.dispatch._receivers[0].breaker.open, "what stays keeps its breaker"
    assert broken.asked == asked


@pytest.mark.parametrize("towards", ["the folder", "an address"])
def test_all_addresses_may_go_and_come_where_alarms_are_kept_locally(
    make: Make, clock: Clock, tmp_path: Path, towards: str
) -> None:
    address = Address("a", clock, takes_s=0.5)
    bench = make(address, archive=FileSink(tmp_path / "events"))
    bench.add(0)
    bench.run(0.1)
    readdressed(bench)
    bench.add(1)
    bench.run(5.0)
    if towards == "an address":
        bench.posters.addresses = [address]
        bench.dispatch.readdress([Receiver("a", lambda: address)])
        bench.add(2)
        bench.run(5.0)
    assert address.bodies() == bodies([0, 2] if towards == "an address" else [0])
    assert len(list((tmp_path / "events").rglob("*.json"))) == (3 if towards == "an address" else 2)
    assert bench.box.counters.pending == 0 and bench.dispatch.archive_failures == 0


@pytest.mark.parametrize("seed", range(6))
def test_whatever_changes_while_alarms_flow_each_is_delivered_once(make: Make, clock: Clock, seed: int) -> None:
    random_ = random.Random(seed)
    addresses = [Address(name, clock, takes_s=random_.choice((0.0, 0.05, 0.3))) for name in "abcd"]
    bench = make(*addresses[:2])
    for number in range(60):
        bench.add(number)
        bench.run(random_.uniform(0.0, 0.1))
        readdressed(bench, *random_.sample(addresses, random_.randint(1, 4)))
    bench.run(10.0)
    assert sorted(alarm for address in addresses for alarm in address.bodies()) == sorted(bodies(range(60)))
    assert bench.box.counters.pending == 0
