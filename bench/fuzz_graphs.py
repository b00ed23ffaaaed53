"""Spoilt graphs and element files: ``python -m bench.fuzz_graphs [--cases 2000] [--seed 0] [--run_every 1]``.

Each case is one of the runnable sample graphs with one to three changes at random. It must run, or be refused by an
error of ours that names file, element or key; it must not hang, die of another exception or leave a thread behind. A
case can be repeated by its seed. CI runs the same with ``--run_every 4`` (tests/fuzz).
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2

from bench.conformance import settings
from tests.elements.receiver import Receiver
from tests.fuzz.bases import make_bases
from tests.fuzz.cases import run_cases

MEMORY_LIMIT_BYTES = 16 * 2**30
"""An element that takes a spoilt size at its word shall not take the machine with it."""


def main() -> int:
    """Prints what became of the cases; 1 if something happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_graphs", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first (%(default)s)")
    parser.add_argument("--run_every", type=int, default=1, help="run each n-th that can be built (%(default)s)")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    cv2.setNumThreads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as folder, Receiver() as receiver:
        chosen = settings(Path(folder))
        bases = make_bases(Path(folder), chosen, port=receiver.port)
        start, cpu = time.monotonic(), time.process_time()
        seeds = range(options.seed, options.seed + options.cases)
        report = run_cases(bases, seeds, folder=Path(folder) / "cases", settings=chosen, run_every=options.run_every)
        took_s, cpu_s = time.monotonic() - start, time.process_time() - cpu
    print("| outcome | cases |\n|---|---|")
    for outcome, count in report.outcomes.most_common():
        print(f"| {outcome} | {count} |")
    print(f"\n{options.cases} cases from {len(bases)} tasks in {took_s:.0f} s ({cpu_s:.0f} s of CPU)")
    for failure in report.failures:
        print(f"\n{failure}")
    return int(bool(report.failures))


if __name__ == "__main__":
    sys.exit(main())
