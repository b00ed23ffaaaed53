"""What the tests of openpose, fastpose and posec3d share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.engine.element import Element, ElementContext
from streamserver.engine.frame import Frame


def make(kind: type[Element], tmp_path: Path, keys: dict[str, Any], **context: Any) -> Element:
    """An element called as its file, with ``keys`` as its ``configure``; those that are ``...`` are left out."""
    name = kind.__module__.rpartition(".")[2]
    return kind(
        ElementContext(
            element_id=7001,
            name=name,
            config_file=f"{name}.json",
            configure={key: value for key, value in keys.items() if value is not ...},
            settings=Settings(device="cpu", model_cache=str(tmp_path / "cache"), model_download=False),
            base_dir=tmp_path,
            **context,
        )
    )


def frame(number: int = 0, *, size_wh: tuple[int, int] = (64, 48), **values: Any) -> Frame:
    """A frame of channel 0 whose pixels are all ``number``."""
    pixels = np.full((size_wh[1], size_wh[0], 3), number, dtype=np.uint8)
    values = {"picture": Picture(size_wh, lambda: pixels), "channel_id": 0, **values}
    return Frame(graph_id=0, frame_id=number, **values)


class Out:
    """Takes what an element emits."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def __call__(self, frame: Frame, *, port: int | None = None) -> None:
        """Notes the frame."""
        self.frames.append(frame)
