"""How property tests search (the same examples on every machine, so that a red run can be repeated), and settings."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True, database=None)
settings.load_profile(os.environ.get("PROPERTY_TESTS", "repeatable"))

os.environ.setdefault("STREAMSERVER_FILE_DIRS", "/")
"""Servers and engines that tests start read clips from folders of the tests' own."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so in the background of a script; and inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes stays to the end: no collection of garbage need walk through thousands of tests again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Half of the workers begin with the files that start real programs, first those of one test: nobody can share it.

    Otherwise a long test would run alone at the end; and while these wait, the other workers compute. ``--dist
    worksteal`` gives each worker as many tests in a row, and what it has not begun to those that are done.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers == 1:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    programs = [path for path, own in files.items() if any(item.get_closest_marker("e2e") for item in own)]
    programs.sort(key=lambda path: len(files[path]))
    others = [item for item in items if item.path not in programs]
    ordered: list[pytest.Item] = []
    half = workers // 2
    for worker in range(workers):
        share = (len(items) - len(ordered)) // (workers - worker)
        first = [item for path in programs[worker::half] for item in files[path]] if worker < half else []
        filling = max(0, share - len(first))
        ordered += first + others[:filling]
        del others[:filling]
    assert len(ordered) == len(items)
    items[:] = ordered
