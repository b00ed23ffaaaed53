"""Takes all file descriptors of the test's process away for a while, as a process has too many open at times."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Nothing more can be opened inside; what is open stays so."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, limits[1]))
    try:
        _take_all(held)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)


def _take_all(held: list[int]) -> None:
    while True:
        try:
            held.append(os.dup(0))
        except OSError:
            return
