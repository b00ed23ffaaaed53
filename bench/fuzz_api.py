"""Asks the real web process everything that /openapi.json describes: ``python -m bench.fuzz_api [--examples 5000]``.

Half of the requests fit the schema of their endpoint, the others do not. No reply may be a 5xx that is not described,
and each has to match its schema. The tests do the same with a few (tests/fuzz/test_api.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import schemathesis

from tests.fuzz.api import ask_everything, table
from tests.hostile.web import web


def main() -> int:
    """Prints what was answered; 1 if a reply was not as it is described."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_api", description=__doc__)
    parser.add_argument("--examples", type=int, default=5000, help="how many at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, web(Path(folder), {"STREAMSERVER_RATE_PER_S": "0"}) as one:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{one.port}/openapi.json")
        before_mb, start = one.memory_mb(), time.monotonic()
        varying = sum(bool(result.ok().body or result.ok().query) for result in schema.get_all_operations())
        each = -(-options.examples // (2 * varying))
        findings = ask_everything(schema, examples=each, seed=options.seed)
        took_s, after_mb = time.monotonic() - start, one.memory_mb()
    print("\n".join(table(findings)))
    print(f"\n{findings.total} requests in {took_s:.0f} s; the web process: {before_mb:.0f} MB, then {after_mb:.0f} MB")
    for failure in findings.failures:
        print(f"\n{failure}")
    return int(bool(findings.failures))


if __name__ == "__main__":
    sys.exit(main())
