"""The good tasks that are spoilt: every graph file that runs here, on a tiny clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamserver.core.settings import Settings
from tests.conformance.clips import write_clip
from tests.conformance.table import REFUSED, SOPHGO_SAMPLES, Bench, prepare_graph_file
from tests.conformance.tree import graph_files
from tests.fuzz.cases import Base

_SIZE_WH = (96, 64)
_FRAMES = 3


def make_bases(folder: Path, settings: Settings, *, port: int) -> list[Base]:
    """Prepares the tasks; their channels read ``folder/clip.avi``, and their results go to ``port``."""
    bench = Bench(folder=folder, settings=settings, frames=_FRAMES, channels=2)
    clip = folder / "clip.avi"
    noise = np.random.default_rng(5)
    shape = (_SIZE_WH[1], _SIZE_WH[0], 3)
    write_clip(clip, (noise.integers(0, 255, shape, dtype=np.uint8) for _ in range(_FRAMES)))
    bases = []
    for sample, graph_file in graph_files():
        if sample in SOPHGO_SAMPLES or (sample, graph_file) in REFUSED:
            continue
        base = Base.from_folder(prepare_graph_file(sample, graph_file, bench, port=port))
        for channel in base.files["demo.json"]["channels"]:
            channel["url"] = str(clip)
        bases.append(base)
    return bases
