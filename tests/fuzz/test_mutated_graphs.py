"""800 spoilt graphs and element files, ``PROPERTY_TESTS=search`` spoils 4,000.

``python -m bench.fuzz_graphs`` runs every one of them that can be built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from bench.conformance import settings
from streamserver.core.settings import Settings
from streamserver.engine import runner
from tests.assets import model
from tests.elements.receiver import Receiver
from tests.fuzz.bases import make_bases
from tests.fuzz.cases import Base, run_cases
from tests.fuzz.mutations import mutate
from tests.searching import SEARCHING

CASES = 4000 if SEARCHING else 800
RUN_EVERY = 4
SLICES = 2


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread for OpenCV; and what ends late on a busy machine has not hung."""
    monkeypatch.setattr(runner, "STOP_TIMEOUT_S", 60.0)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Base], Settings]]:
    """The tasks to spoil, and the settings they run with; networks are made ready once for all slices."""
    model("yolox_nano.onnx")
    folder = tmp_path_factory.mktemp("good")
    chosen = settings(folder)
    with Receiver() as receiver:
        yield make_bases(folder, chosen, port=receiver.port), chosen


@pytest.mark.parametrize("part", range(SLICES))
def test_a_spoilt_graph_runs_or_is_refused_by_name(
    tmp_path: Path, good: tuple[list[Base], Settings], part: int
) -> None:
    bases, chosen = good
    assert len(bases) == 31
    seeds = range(part * CASES // SLICES, (part + 1) * CASES // SLICES)
    report = run_cases(bases, seeds, folder=tmp_path / "cases", settings=chosen, run_every=RUN_EVERY)
    assert report.failures == []
    assert sum(report.outcomes.values()) == CASES // SLICES
    assert report.outcomes["ran"] > 5
    assert report.outcomes["refused"] > 100


def test_the_same_seed_does_the_same_damage() -> None:
    files = {
        "engine.json": [{"graph_id": 0, "elements": [{"element_id": 1}], "connections": []}],
        "demo.json": {"a": 1},
    }
    before = json.dumps(files)
    assert [mutate(files, seed) for seed in range(200)] == [mutate(files, seed) for seed in range(200)]
    assert json.dumps(files) == before


def test_a_case_that_says_nothing_useful_is_a_failure(tmp_path: Path) -> None:
    """The judge itself: a task that is refused without a place would be found."""
    base = Base("none", {"demo.json": {"channels": [], "engine_config_path": "engine.json"}, "engine.json": []})
    report = run_cases([base], range(40), folder=tmp_path, settings=settings(tmp_path), run_every=1)
    assert report.failures == []
    assert report.outcomes == {"refused": 40}
