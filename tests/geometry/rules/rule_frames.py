"""Frames for rules, made of a few boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamserver.core.arrays import Detections
from streamserver.geometry.rules.rule import Polygon, RuleFrame

SIZE_WH = (800, 600)
FPS = 10.0

BoxXyxy = tuple[float, float, float, float]


def polygon(*corners_xy: tuple[float, float]) -> Polygon:
    return np.array(corners_xy, dtype=np.float64)


def person(x: float, y: float, *, width: float = 20, height: float = 50) -> BoxXyxy:
    """The box of somebody whose foot is at (x, y)."""
    return x - width / 2, y - height, x + width / 2, y


def rule_frame(
    step: int,
    boxes: Mapping[int, BoxXyxy],
    *,
    clock_s: float | None = None,
    timestamp_us: int = 0,
    scores: Sequence[float] = (),
    classes: Sequence[int] = (),
) -> RuleFrame:
    """Frame number ``step`` with one box for each identity, in their order; ten frames a second."""
    n = len(boxes)
    identities = np.array(list(boxes), dtype=np.int64)
    detections = Detections.from_arrays(list(boxes.values()), scores or [0.9] * n, classes or [0] * n, identities)
    clock = step / FPS if clock_s is None else clock_s
    return RuleFrame(
        step=step,
        clock_s=clock,
        timestamp_us=timestamp_us,
        size_wh=SIZE_WH,
        detections=detections,
        identities=identities,
    )
