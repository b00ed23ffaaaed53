"""All 40 graphs of sophon-stream's 27 samples, as ``python -m bench.conformance`` shows them, with fewer frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from bench.conformance import settings
from tests.assets import model
from tests.conformance.table import REFUSED, SOPHGO_SAMPLES, Bench, run_graph_file
from tests.graph.test_real_graphs import GRAPH_FILES

FRAMES, CHANNELS = 6, 2


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    model("yolox_nano.onnx")
    folder = tmp_path_factory.mktemp("conformance")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield Bench(folder=folder, settings=settings(folder), frames=FRAMES, channels=CHANNELS)
    cv2.setNumThreads(threads)


def test_21_samples_run_and_6_need_hardware() -> None:
    files = [(sample, f"{file}.json") for sample, file in (name.split("/") for name in GRAPH_FILES)]
    samples = {sample for sample, file in files if (sample, file) not in REFUSED}
    assert samples >= SOPHGO_SAMPLES
    assert len(samples - SOPHGO_SAMPLES) == 21
    assert len(SOPHGO_SAMPLES) == 6


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_graph_runs_as_it_must_or_is_refused_with_the_reason(bench: Bench, name: str) -> None:
    sample, file = name.split("/")
    for row in run_graph_file(sample, f"{file}.json", bench):
        assert row.verdict == ("refused, as it must be" if row.must_be_refused else "passes"), row


@pytest.mark.parametrize(
    "name", ["yolov5/engine", "yolov7/engine_group", "yolov8/engine_group", "retinaface/engine_group"]
)
def test_a_graph_runs_on_weights_of_its_own_family_too(bench: Bench, name: str) -> None:
    """Those that are here stand in for several families; made ones have the shapes of the sample's own."""
    sample, file = name.split("/")
    (row,) = run_graph_file(sample, f"{file}.json", replace(bench, folder=bench.folder / "own", prefer_made=True))
    assert all(label.startswith(f"made: {sample}") for label in row.weights)
    assert row.verdict == "passes", row


def test_what_a_run_leaves_lies_in_its_own_folder(bench: Bench) -> None:
    """Recordings, pictures and models: nothing appears beside the process."""
    before = {path.name for path in Path.cwd().iterdir()}
    run_graph_file("line_crossing", "engine_group.json", bench)
    assert {path.name for path in Path.cwd().iterdir()} == before
    pictures = list((bench.folder / "tasks" / "line_crossing_engine_group").glob("results/0_0/*.jpg"))
    assert pictures
