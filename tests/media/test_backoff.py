from __future__ import annotations

import heapq
import random

import pytest

from streamserver.media.backoff import Crowd, backoff_after_refusal_s, backoff_s


def test_backoff_grows_to_half_a_minute_and_never_hammers() -> None:
    for away_s, longest in [(0, 1.0), (8, 1.0), (24, 2.0), (120, 10.0), (360, 30.0), (1e6, 30.0)]:
        waits = [backoff_s(away_s) for _ in range(200)]
        assert 0.1 <= min(waits) <= max(waits) <= longest
        assert max(waits) > 0.7 * longest


def test_who_has_queued_stays_away_longer_but_never_beyond_a_twelfth_of_the_absence() -> None:
    crowd = Crowd()
    crowd.waited(0.0)
    assert crowd.longer_s(7.0, 1e6) == 7.0
    crowd.waited(5.0)
    assert crowd.longer_s(7.0, 1e6) == 17.0
    assert crowd.longer_s(7.0, 120.0) == 10.0
    assert crowd.longer_s(7.0, 20.0) == 7.0, "one that has just broken off"
    for _ in range(100):
        crowd.waited(60.0)
    assert crowd.longer_s(7.0, 1e6) == 120.0
    for _ in range(100):
        crowd.waited(0.0)
    assert crowd.longer_s(7.0, 1e6) == pytest.approx(7.0, abs=0.1)


def test_hundreds_of_dead_cameras_leave_the_queue_short() -> None:
    random.seed(1)
    crowds = [Crowd() for _ in range(400)]
    tries = [(0.01 * number, number) for number in range(len(crowds))]
    free_at, queued = 0.0, []
    while tries[0][0] < 3600.0:
        now, number = heapq.heappop(tries)
        turn = max(now, free_at)
        free_at = turn + 0.22
        crowds[number].waited(turn - now)
        if now > 1800.0:
            queued.append(turn - now)
        heapq.heappush(tries, (turn + crowds[number].longer_s(backoff_s(turn), turn), number))
    assert sum(queued) / len(queued) < 3.0
    assert len(queued) > 0.8 * 1800.0 / 0.22, "hardly a turn is left unused"


def test_a_refused_login_is_not_tried_again_at_once() -> None:
    waits = [backoff_after_refusal_s() for _ in range(200)]
    assert 15 <= min(waits) < 20 < 25 < max(waits) <= 30
