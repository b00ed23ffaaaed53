"""Benchmarks: each prints one table of ratios against a yardstick that is measured in the same run."""

import importlib.util
import sys

if importlib.util.find_spec("pytest") is None:
    sys.exit(
        "the tables use the servers and clips of the tests: run ./run_tests.sh once, which installs what they need"
    )
