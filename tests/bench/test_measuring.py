from __future__ import annotations

import functools
import mmap
import os
import subprocess
import sys
import time

import pytest

from bench.measuring import cpu_s, in_turns, machine_idle_s, memory_mb, percentile, spend, spread, telling

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
"""A program that takes 0.3 s of CPU time, however busy the machine is."""


def test_what_a_program_and_its_children_took_is_counted() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True); print('done')"
    spent = spend([sys.executable, "-c", nested])
    assert spent.output == "done\n"
    assert 0.29 <= spent.cpu_s <= spent.wall_s * (os.cpu_count() or 1) + 0.1


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: no such clip"):
        spend([sys.executable, "-c", "import sys; sys.stderr.write('no such clip'); sys.exit(3)"])


def test_a_program_gets_its_environment_on_top_of_ours() -> None:
    ask = "import os; print(os.environ['BENCH_TEST'], 'PATH' in os.environ)"
    assert spend([sys.executable, "-c", ask], environment={"BENCH_TEST": "yes"}).output == "yes True\n"


def test_cpu_time_of_a_process_that_runs_leaves_out_its_children_unless_asked() -> None:
    own, with_children = cpu_s([os.getpid()]), cpu_s([os.getpid()], children=True)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu_s([os.getpid()], children=True) - with_children >= cpu_s([os.getpid()]) - own + 0.25


def test_memory_of_a_process_counts_what_it_holds() -> None:
    before = memory_mb([os.getpid()])
    with mmap.mmap(-1, 64 << 20) as block:  # memory of malloc may have been the process's before
        block.write(bytes([1]) * len(block))
        after = memory_mb([os.getpid()])
    assert after.private - before.private > 48
    assert after.rss >= after.pss >= after.private


def test_idle_time_of_the_machine_only_grows() -> None:
    before_s, at_s = machine_idle_s(), time.monotonic()
    time.sleep(0.05)
    after_s = machine_idle_s()
    assert 0 <= after_s - before_s <= (time.monotonic() - at_s + 0.1) * (os.cpu_count() or 1)


def test_subjects_take_turns_in_changing_order() -> None:
    order: list[str] = []

    def subject(name: str) -> int:
        order.append(name)
        return len(order)

    found = in_turns(3, {name: functools.partial(subject, name) for name in "ab"})
    assert "".join(order) == "abbaab"
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_subject_can_tell_what_it_measured() -> None:
    said: list[str] = []
    assert telling("decoder", lambda: 2.5, said.append)() == 2.5
    assert said == ["decoder: 2.5"]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([5.0], 0.95, 5.0, id="one value"),
        pytest.param([4.0, 1.0, 3.0, 2.0], 0.5, 2.0, id="half of four"),
        pytest.param([3.0, 1.0, 2.0], 0.5, 2.0, id="half of three"),
        pytest.param([float(n) for n in range(1, 101)], 0.95, 95.0, id="95 of a hundred"),
        pytest.param([float(n) for n in range(1, 21)], 1.0, 20.0, id="all"),
    ],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


def test_a_spread_names_the_least_and_the_most() -> None:
    assert spread([3.14159, 2.0, 12.5]) == "2 to 12.5"
