"""How many connections a process can have at a time."""

from __future__ import annotations

import resource

_MOST = 2048
_OTHER_DESCRIPTORS = 300
"""For files, databases and the programs that make snapshots."""

_FEWEST = 128


def connections() -> int:
    """How many connections there can be, once this process may open as many files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _MOST
    return max(_FEWEST, soft - _OTHER_DESCRIPTORS)
