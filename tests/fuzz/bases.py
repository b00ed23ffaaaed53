"""The good tasks that are spoilt: every graph file that runs here, on a tiny clip or picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamserver.core.settings import Settings
from streamserver.vision.codec import encode_jpeg
from tests.conformance.clips import write_clip
from tests.conformance.table import REFUSED, SOPHGO_SAMPLES, Bench, prepare_graph_file
from tests.conformance.tree import graph_files
from tests.fuzz.cases import Base

_SIZE_WH = (96, 64)
_FRAMES = 3


def make_bases(folder: Path, settings: Settings, *, port: int) -> list[Base]:
    """Prepares the tasks; their channels read what lies in ``folder/tiny``, and their results go to ``port``."""
    bench = Bench(folder=folder, settings=settings, frames=_FRAMES, channels=2)
    noise = np.random.default_rng(5).integers(0, 255, (_FRAMES, _SIZE_WH[1], _SIZE_WH[0], 3), dtype=np.uint8)
    tiny = {"VIDEO": folder / "tiny" / "clip.avi", "IMG_DIR": folder / "tiny"}
    write_clip(tiny["VIDEO"], iter(noise))
    (folder / "tiny" / "picture.jpg").write_bytes(encode_jpeg(noise[0]))
    bases = []
    for sample, graph_file in graph_files():
        if sample in SOPHGO_SAMPLES or (sample, graph_file) in REFUSED:
            continue
        base = Base.from_folder(prepare_graph_file(sample, graph_file, bench, port=port))
        for channel in base.files["demo.json"]["channels"]:
            channel["url"] = str(tiny[channel["source_type"]])
        bases.append(base)
    return bases
