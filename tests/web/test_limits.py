"""What is remembered of callers: how long, and how much at most."""

from __future__ import annotations

from streamserver.web.limits import MOST, Buckets, LockOut


def test_a_lock_lasts_longer_each_time_and_is_forgotten() -> None:
    now = [0.0]
    lock_out = LockOut(clock=lambda: now[0])
    lasted = []
    for _ in range(6):
        for _ in range(lock_out.failures):
            lock_out.note_failure("a")
        lasted.append(lock_out.wait_s("a", "key"))
        now[0] += lasted[-1]
        assert lock_out.wait_s("a", "key") == 0
    assert lasted == [60, 120, 240, 480, 900, 900]
    now[0] += 3601
    for _ in range(lock_out.failures):
        lock_out.note_failure("a")
    assert lock_out.wait_s("a", "key") == 60
    for _ in range(lock_out.failures * 3):
        lock_out.note_failure("b")
        now[0] += 7
    assert lock_out.wait_s("b", "key") == 0


def test_10000_addresses_and_more_fill_no_memory() -> None:
    lock_out, buckets = LockOut(), Buckets(100, 400)
    for n in range(3 * MOST):
        lock_out.note_failure(f"a{n}")
        lock_out.note_success(f"a{n}", "key")
        buckets.wait_s(f"a{n}")
    assert (len(lock_out), len(buckets)) == (2 * MOST, MOST)


def test_a_bucket_gives_its_depth_at_once_and_then_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(10, 40, clock=lambda: now[0])
    assert [buckets.wait_s("a") for _ in range(41)] == [0.0] * 40 + [0.1]
    assert buckets.wait_s("b") == 0
    now[0] += 0.1000001
    assert buckets.wait_s("a") == 0 and buckets.wait_s("a") > 0
    assert Buckets(0, 0).wait_s("a") == 0
