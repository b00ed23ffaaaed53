"""Which address gets which alarm, what becomes of those that are refused, and of what is in hand at the end."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from streamserver.business.breaker import FIRST_PROBE_S, LONGEST_HOLD_S, LONGEST_PROBE_S, OUTAGE_PROBE_S, PATIENCE_S
from streamserver.business.dispatch import POSTS
from streamserver.business.routing import BACKOFF_S, REFUSALS
from streamserver.core.errors import StoreError
from streamserver.outbox.letters import dead_letters, replay
from streamserver.sinks.file import FileSink
from tests.business.stepping import Address, Clock, Make, bodies, body


def test_addresses_take_turns(make: Make, clock: Clock) -> None:
    addresses = [Address(name, clock) for name in "abc"]
    bench = make(*addresses)
    bench.add(*range(9))
    bench.run()
    assert [address.bodies() for address in addresses] == [bodies((0, 3, 6)), bodies((1, 4, 7)), bodies((2, 5, 8))]
    assert bench.box.counters.pending == 0


def test_when_one_fails_the_next_one_gets_the_alarm_at_once(make: Make, clock: Clock) -> None:
    bad, good = Address("bad", clock, works=False), Address("good", clock)
    bench = make(bad, good)
    bench.add(*range(6))
    bench.run()
    assert sorted(good.bodies()) == bodies(range(6))
    assert {alarm.attempt for alarm in good.taken} == {1}
    assert bad.asked == 3


def test_several_posts_are_under_way_at_a_time(make: Make, clock: Clock) -> None:
    bench = make(Address("a", clock, takes_s=0.5))
    bench.add(*range(20))
    bench.run(0.4)
    assert len(bench.posters.under_way) == POSTS
    bench.run(2.2)
    assert bench.box.counters.delivered == 20


def test_an_alarm_that_nobody_takes_is_tried_again_with_the_same_id_and_a_higher_number(
    make: Make, clock: Clock
) -> None:
    a, b = Address("a", clock), Address("b", clock)
    a.fails = b.fails = {body(1)}
    bench = make(a, b)
    bench.add(1)
    tries = []
    for _ in range(400):
        bench.add(0)
        bench.run(1)
        tries.append(a.asked + b.asked - len(a.taken) - len(b.taken))
    assert tries[0] == 4, "at 0 s and after at most 1 s, at both"
    assert tries[-1] == 2 * 5, "then after 5, 30 and 120 s, and in 600 s again"
    a.fails = b.fails = set()
    bench.run(BACKOFF_S[4])
    [alarm] = [alarm for alarm in a.taken + b.taken if alarm.body == body(1)]
    assert alarm.attempt == 6
    assert bench.box.counters.pending == 0 and bench.dispatch.last_error == ""


def test_retry_after_is_kept(make: Make, clock: Clock) -> None:
    address = Address("a", clock, works=False)
    address.retry_after_s = 300.0
    bench = make(address)
    bench.add(*range(10))
    bench.run(299)
    assert address.asked <= POSTS, "what was under way when it was said"
    bench.dispatch.hurry()
    bench.run(0.5)
    assert address.asked <= POSTS
    address.works = True
    bench.run(3)
    assert len(address.taken) == 10


def test_retry_after_has_a_limit_and_does_not_concern_other_addresses(make: Make, clock: Clock) -> None:
    a, b = Address("a", clock, works=False), Address("b", clock)
    a.retry_after_s = 1e9
    bench = make(a, b)
    bench.add(*range(10))
    bench.run(1)
    assert len(b.taken) == 10 and a.asked <= POSTS
    a.works = True
    bench.run(LONGEST_HOLD_S)
    bench.add(10, 11)
    bench.run(1)
    assert len(a.taken) == 1


def test_what_every_address_refuses_is_a_dead_letter_in_the_end_and_holds_up_nobody(
    make: Make, clock: Clock, tmp_path: Path
) -> None:
    a, b = Address("a", clock), Address("b", clock)
    a.refuses = b.refuses = {body(0), body(1)}
    bench = make(a, b)
    for number in range(1000):
        bench.add(number)
        bench.run(1)
        assert number < 2 or bench.box.counters.pending <= 2
    counters = bench.box.counters
    assert (counters.delivered, counters.dead, counters.pending) == (998, 2, 0)
    letters = dead_letters(tmp_path / "outbox.sqlite", limit=10)
    assert all(REFUSALS <= letter.attempts <= 2 * REFUSALS and "413" in letter.error for letter in letters)
    assert a.asked + b.asked == 998 + 2 * sum(letter.attempts for letter in letters)
    a.refuses = b.refuses = set()
    replay(tmp_path / "outbox.sqlite", None)
    assert bench.box.maintain()
    bench.run(1)
    assert bench.box.counters.delivered == 1000


def test_a_receiver_whose_disk_is_full_all_night_makes_no_dead_letters_and_is_left_alone(
    make: Make, clock: Clock
) -> None:
    a, b = Address("a", clock), Address("b", clock)
    bench = make(a, b)
    bench.add(0, 1)
    bench.run()
    a.is_full = b.is_full = True
    a.asked_at.clear()
    for number in range(2, 400):
        bench.add(number)
        bench.run(10)
    assert bench.dispatch.outage and "413" in bench.dispatch.last_error
    assert a.asked <= 4000 / (OUTAGE_PROBE_S / 2)
    a.is_full = b.is_full = False
    bench.run(OUTAGE_PROBE_S + FIRST_PROBE_S)
    counters = bench.box.counters
    assert (counters.pending, counters.dead, counters.delivered) == (0, 0, 400)


def test_whatever_is_refused_is_no_dead_letter_while_nothing_else_is_taken(make: Make, clock: Clock) -> None:
    a = Address("a", clock)
    a.is_full = True
    bench = make(a)
    for number in range(3 * REFUSALS):
        bench.add(number)
        bench.run(BACKOFF_S[1])
        bench.restart()
    assert bench.box.counters.pending == 3 * REFUSALS and bench.box.counters.dead == 0


def test_a_full_disk_is_found_to_be_over_though_the_oldest_alarm_is_refused_for_good(make: Make, clock: Clock) -> None:
    a = Address("a", clock)
    a.refuses = {body(0)}
    a.is_full = True
    bench = make(a)
    bench.add(*range(8))
    bench.run(300)
    a.is_full = False
    bench.run(10 * OUTAGE_PROBE_S)
    assert sorted(a.bodies()) == bodies(range(1, 8))


def test_refusals_have_a_back_off_of_their_own(make: Make, clock: Clock) -> None:
    a = Address("a", clock, works=False)
    a.refuses = {body(0)}
    bench = make(a)
    bench.add(0)
    a.refuses, refuses = set(), a.refuses
    bench.run(600)
    assert a.asked > 300, "it was the probe of a long outage"
    a.works, a.refuses = True, refuses
    for number in range(1, 400):
        bench.add(number)
        bench.run(1)
    assert bench.box.counters.dead == 1, "after 1 s, 5 s, 30 s and 2 min"


def test_an_alarm_that_one_address_refuses_and_another_cannot_take_now_is_no_dead_letter(
    make: Make, clock: Clock
) -> None:
    a, b = Address("a", clock), Address("b", clock, works=False)
    a.refuses = {body(0)}
    bench = make(a, b)
    bench.add(0)
    for number in range(1, 1500):
        bench.add(number)
        bench.run(1)
    assert bench.box.counters.dead == 0 and bench.box.counters.pending == 1
    b.works = True
    bench.run(LONGEST_PROBE_S + BACKOFF_S[-1])
    bench.add(1500, 1501)
    bench.run(BACKOFF_S[-1])
    assert body(0) in b.bodies()


def test_an_alarm_that_always_fails_does_not_hold_up_the_others(make: Make, clock: Clock) -> None:
    address = Address("a", clock)
    address.fails = {body(0), body(1)}
    bench = make(address)
    for number in range(60):
        bench.add(number)
        bench.run(10)
    assert sorted(address.bodies()) == sorted(bodies(range(2, 60)))
    assert bench.box.counters.pending == 2


def test_hurry_makes_everything_due(make: Make, clock: Clock) -> None:
    a, b = Address("a", clock), Address("b", clock)
    a.fails = b.fails = {body(1)}
    bench = make(a, b)
    bench.add(1)
    for _ in range(60):
        bench.add(0)
        bench.run(1)
    a.fails = b.fails = set()
    bench.dispatch.hurry()
    bench.run(0)
    assert bench.box.counters.pending == 0


def test_the_local_copy_is_written_first_and_once(make: Make, clock: Clock) -> None:
    archive, address = Address("folder", clock), Address("a", clock, works=False)
    bench = make(address, archive=archive)
    bench.add(1)
    bench.run(100)
    assert archive.asked == 1 and address.asked > 2
    assert bench.box.counters.pending == 1


def test_a_local_copy_that_fails_is_counted_and_does_not_stop_the_report(make: Make, clock: Clock) -> None:
    archive, address = Address("folder", clock, works=False), Address("a", clock)
    bench = make(address, archive=archive)
    bench.add(1)
    bench.run()
    assert len(address.taken) == 1 and bench.box.counters.delivered == 1
    assert bench.dispatch.archive_failures == 1


def test_without_addresses_the_local_copy_is_the_delivery(make: Make, clock: Clock, tmp_path: Path) -> None:
    bench = make(archive=FileSink(tmp_path / "events"))
    (tmp_path / "events").touch()
    bench.add(1)
    bench.run()
    assert bench.box.counters.pending == 1 and "events" in bench.dispatch.last_error
    assert bench.dispatch.archive_failures
    (tmp_path / "events").unlink()
    bench.run(10)
    assert bench.box.counters.delivered == 1 and len(list((tmp_path / "events").rglob("*.json"))) == 1


def test_without_any_sink_alarms_are_counted_only(make: Make) -> None:
    bench = make()
    bench.add(1, 2)
    bench.run()
    assert bench.box.counters.delivered == 2


def test_a_delivery_that_cannot_be_recorded_is_not_repeated(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Address("a", clock)
    bench = make(address)
    bench.add(1)

    def disk_full() -> None:
        raise StoreError("disk full")

    bench.dispatch.step()
    with monkeypatch.context() as patch:
        patch.setattr(bench.box, "_pay", disk_full)
        for post in bench.posters.ended():
            bench.dispatch.back(post)
        for _ in range(3):
            with pytest.raises(StoreError):
                bench.dispatch.step()
            bench.add(2)
    bench.run(60)
    assert address.bodies() == bodies((1, 2, 2, 2))
    assert bench.box.counters.delivered == 4


def test_what_is_in_hand_at_the_end_is_given_back(make: Make, clock: Clock) -> None:
    address = Address("a", clock, takes_s=1.0)
    bench = make(address)
    bench.add(*range(20))
    bench.dispatch.step()
    bench.dispatch.finish()
    assert not bench.dispatch.done, "posts are under way"
    clock.now += 1
    for post in bench.posters.ended():
        bench.dispatch.back(post)
    bench.dispatch.finish()
    assert bench.dispatch.done and bench.box.counters.delivered == POSTS
    bench.restart()
    bench.run(20)
    assert sorted(address.bodies()) == sorted(bodies(range(20)))
    assert {alarm.attempt for alarm in address.taken} == {1}


def test_two_of_three_that_do_not_answer_delay_an_alarm_twice_at_most(make: Make, clock: Clock) -> None:
    hung = [Address(name, clock, works=False, takes_s=10.0) for name in "ab"]
    good = Address("good", clock)
    bench = make(*hung, good)
    for number in range(100):
        raised_at = clock.now
        bench.add(number)
        bench.run(3)
        assert good.taken[-1].body == body(number)
        assert good.taken_at[-1] - raised_at <= 2 * PATIENCE_S + 0.1


def test_none_of_three_answers_and_nothing_is_lost(make: Make, clock: Clock) -> None:
    addresses = [Address(name, clock, works=False, takes_s=10.0) for name in "abc"]
    bench = make(*addresses)
    bench.add(*range(20))
    bench.run(200)
    assert bench.box.counters.pending == 20
    addresses[1].works, addresses[1].takes_s = True, 0.0
    bench.run(15)
    assert sorted(addresses[1].bodies()) == sorted(bodies(range(20)))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_addresses_do_every_alarm_arrives_in_the_end(make: Make, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    addresses = [Address(name, clock) for name in "abc"[: 1 + seed % 3]]
    bench = make(*addresses)
    count = 0
    for _ in range(150):
        for address in addresses:
            if chance.random() < 0.3:
                address.works, address.listens = chance.random() < 0.5, chance.random() < 0.8
                address.takes_s = chance.choice((0.0, 0.0, 0.02, 1.5, 10.0))
                address.retry_after_s = chance.choice((None, None, 5.0))
        bench.add(*range(count, count + chance.randrange(4)))
        count = bench.box.counters.events
        bench.run(chance.choice((0.0, 0.3, 3.0, 60.0)))
        if chance.random() < 0.05:
            bench.dispatch.hurry()
    for address in addresses:
        address.works, address.listens, address.takes_s = True, True, 0.01
    bench.run(70)
    assert bench.box.counters.pending == 0 and bench.box.counters.delivered == count
    copies = Counter(alarm.body for address in addresses for alarm in address.taken)
    assert set(copies) == set(bodies(range(count)))
    assert max(copies.values()) <= len(addresses)
    attempts = [alarm.attempt for address in addresses for alarm in address.taken]
    assert min(attempts) == 1
