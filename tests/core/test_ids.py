from __future__ import annotations

import threading
import time
from uuid import RFC_4122, UUID

from streamserver.core.ids import Uuid7Source


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = Uuid7Source()()
    after_ms = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before_ms <= made.int >> 80 <= after_ms


def test_the_example_of_the_rfc_is_reproduced() -> None:
    random_numbers = iter([0x4C3, 0x18C4DC0C0C07398F])
    source = Uuid7Source(clock_ns=lambda: 0x017F22E279B0 * 1_000_000, random_bits=lambda bits: next(random_numbers))
    assert source() == UUID("017f22e2-79b0-74c3-98c4-dc0c0c07398f")


def test_ids_of_one_millisecond_grow_even_when_the_counter_runs_over() -> None:
    source = Uuid7Source(clock_ns=lambda: 5_000_000)
    made = [source() for _ in range(10_000)]
    assert made == sorted(made) and len(set(made)) == len(made)


def test_ids_grow_when_the_clock_is_set_back() -> None:
    times = iter([9_000_000, 3_000_000, 3_000_000])
    source = Uuid7Source(clock_ns=lambda: next(times))
    first, second, third = source(), source(), source()
    assert first < second < third


def test_threads_never_get_the_same_id() -> None:
    source = Uuid7Source()
    made: list[UUID] = []
    threads = [threading.Thread(target=lambda: made.extend([source() for _ in range(500)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000
