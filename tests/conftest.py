"""How property tests search (the same examples on every machine, so that a red run can be repeated), and signals."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True, database=None)
settings.load_profile(os.environ.get("PROPERTY_TESTS", "repeatable"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so in the background of a script; and inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
