"""Whose turn it is, as histories: keys, lanes, times."""

from __future__ import annotations

from streamserver.business.turns import LONGEST_STAY_S, STAY_S, TROUBLE_S, Progress, Turns


def all_next(turns: Turns, now: float = 0.0) -> list[str]:
    """Everybody who gets a place now."""
    given = []
    while (key := turns.next(now)) is not None:
        given.append(key)
    return given


def progress(*, since: float = 0.0, moved_at: float = 0.0, stuck: bool = False, patience_s: float = 12.0) -> Progress:
    return Progress(since=since, moved_at=moved_at, stuck=stuck, patience_s=patience_s)


def test_no_more_than_the_places_are_given_and_each_once() -> None:
    turns = Turns(places=4)
    for number in range(10):
        turns.wait(f"k{number}", "lane")
    assert all_next(turns) == ["k0", "k1", "k2", "k3"]
    assert turns.next(0.0) is None
    turns.forget("k1")
    assert all_next(turns) == ["k4"]


def test_lanes_take_turns_however_long_they_are() -> None:
    turns = Turns(places=4)
    for number in range(100):
        turns.wait(f"long{number}", "long")
    turns.wait("short", "short")
    assert "short" in all_next(turns)


def test_a_lane_that_fails_keeps_no_more_than_its_share_and_gets_all_when_it_works_again() -> None:
    turns = Turns(places=4)
    for number in range(10):
        turns.wait(f"dead{number}", "dead")
    assert len(all_next(turns)) == 4
    turns.note("dead0", works=False)
    turns.wait("well0", "well")
    turns.wait("well1", "well")
    turns.wait("well2", "well")
    for key in ("dead1", "dead2", "dead3"):
        turns.wait(key, "dead")
    assert sorted(all_next(turns)) == ["dead4", "well0", "well1"]
    turns.forget("well0")
    assert all_next(turns) == ["well2"]
    for key in ("well1", "well2"):
        turns.forget(key)
    turns.note("dead0", works=True)
    assert len(all_next(turns)) == 2


def test_who_left_goes_to_the_end_of_the_queue() -> None:
    turns = Turns(places=1)
    for key in ("a", "b", "c"):
        turns.wait(key, "lane")
    order = []
    for _ in range(6):
        [key] = all_next(turns)
        order.append(key)
        turns.wait(key, "lane")
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_nobody_has_to_leave_while_nobody_waits() -> None:
    turns = Turns(places=2)
    turns.wait("a", "lane")
    assert all_next(turns) == ["a"]
    assert turns.leavers(1000.0, {"a": progress(stuck=True)}) == []


def test_who_is_stuck_leaves_for_those_that_wait_the_longest_stuck_first_and_no_more_than_needed() -> None:
    turns = Turns(places=3)
    for key in ("a", "b", "c", "d"):
        turns.wait(key, "lane")
    all_next(turns)
    now = STAY_S + 5.0
    at_work = {
        "a": progress(stuck=True, moved_at=2.0),
        "b": progress(stuck=True, moved_at=1.0),
        "c": progress(moved_at=now),
    }
    assert turns.leavers(now, at_work) == ["b"]


def test_a_slow_try_may_take_as_long_as_it_may_take() -> None:
    turns = Turns(places=1)
    turns.wait("a", "lane")
    turns.wait("b", "lane")
    all_next(turns)
    assert turns.leavers(11.0, {"a": progress(patience_s=12.0)}) == []
    assert turns.leavers(12.5, {"a": progress(patience_s=12.0)}) == ["a"]


def test_who_is_delivered_well_leaves_after_a_while_too() -> None:
    turns = Turns(places=1)
    turns.wait("a", "lane")
    turns.wait("b", "lane")
    all_next(turns)
    assert turns.leavers(LONGEST_STAY_S - 1, {"a": progress(moved_at=LONGEST_STAY_S - 1)}) == []
    assert turns.leavers(LONGEST_STAY_S + 1, {"a": progress(moved_at=LONGEST_STAY_S + 1)}) == ["a"]


def test_trouble_is_left_alone_for_longer_and_longer_until_something_was_delivered() -> None:
    turns = Turns(places=1)
    turns.wait("a", "lane")
    now, pauses = 0.0, []
    for _ in range(len(TROUBLE_S) + 1):
        assert all_next(turns, now) == ["a"]
        pauses.append(turns.wait_after_trouble("a", "lane", now))
        assert all_next(turns, now + pauses[-1] - 0.1) == []
        now += pauses[-1]
    assert pauses == [*TROUBLE_S, TROUBLE_S[-1]]
    assert all_next(turns, now) == ["a"]
    turns.note("a", works=True)
    assert turns.wait_after_trouble("a", "lane", now) == TROUBLE_S[0]


def test_what_waits_after_trouble_makes_nobody_leave() -> None:
    turns = Turns(places=1)
    turns.wait("a", "lane")
    all_next(turns)
    turns.wait_after_trouble("a", "lane", 0.0)
    turns.wait("b", "lane")
    assert all_next(turns) == ["b"]
    assert turns.leavers(4.0, {"b": progress(stuck=True)}) == []
    assert turns.leavers(6.0, {"b": progress(stuck=True)}) == ["b"]


def test_what_is_forgotten_is_dropped_with_its_lane() -> None:
    turns = Turns()
    for number in range(100):
        turns.wait(f"k{number}", f"lane{number}")
        assert turns.next(0.0) == f"k{number}"
        turns.note(f"k{number}", works=False)
        turns.forget(f"k{number}")
        assert f"k{number}" not in turns
    kept = [value for value in vars(turns).values() if isinstance(value, dict | set)]
    assert kept and not any(kept)
