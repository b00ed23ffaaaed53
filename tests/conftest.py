"""How property tests search: the same examples on every machine, so that a red run can be repeated."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True, database=None)
settings.load_profile(os.environ.get("PROPERTY_TESTS", "repeatable"))
