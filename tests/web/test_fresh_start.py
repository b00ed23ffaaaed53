from __future__ import annotations

from streamserver.web.fresh_start import MOST, WITHIN_S, FreshStarts

NAME = "STREAMSERVER_STARTED_ANEW"


def test_so_many_fresh_starts_are_allowed_and_old_ones_are_forgotten() -> None:
    now = 1000.0
    starts = FreshStarts({}, lambda: now)
    assert [starts.note() for _ in range(MOST + 1)] == [True] * MOST + [False]
    now += WITHIN_S
    assert starts.note()


def test_those_of_the_processes_before_count_and_no_child_hears_of_them() -> None:
    environment = {NAME: "990 x " + "995.5 " * (MOST - 1), "OTHER": "stays"}
    starts = FreshStarts(environment, lambda: 1000.0)
    assert environment == {"OTHER": "stays"}
    assert not starts.note()


def test_times_of_another_boot_do_not_count() -> None:
    assert FreshStarts({NAME: "5000 " * MOST}, lambda: 10.0).note()
