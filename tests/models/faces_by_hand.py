"""YuNet's and RetinaFace's arithmetic once more, one number after another in double precision, to compare with.

Nothing here is shared with ``streamserver.models``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Outputs = dict[str, np.ndarray[Any, Any]]


@dataclass
class HandFace:
    """One face: left, top, right, bottom, score and five points."""

    box: list[float]
    score: float
    points: list[tuple[float, float]]


def retinaface(outputs: Outputs, width: int, height: int, *, logits: bool = True) -> list[HandFace]:
    """Every prior as a face, from ``loc`` (n, 4), ``conf`` (n, 2) and ``landm`` (n, 10)."""
    faces = []
    row = 0
    for step, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for i in range(math.ceil(height / step)):
            for j in range(math.ceil(width / step)):
                for side in sides:
                    prior = ((j + 0.5) * step / width, (i + 0.5) * step / height, side / width, side / height)
                    faces.append(_retinaface_row(outputs, row, prior, (width, height), logits=logits))
                    row += 1
    return faces


def _retinaface_row(
    outputs: Outputs, row: int, prior: Sequence[float], size: tuple[int, int], *, logits: bool
) -> HandFace:
    loc, conf, landm = ([float(v) for v in outputs[key][row]] for key in ("loc", "conf", "landm"))
    x, y, w, h = prior
    cx, cy = x + loc[0] * 0.1 * w, y + loc[1] * 0.1 * h
    bw, bh = w * math.exp(loc[2] * 0.2), h * math.exp(loc[3] * 0.2)
    score = math.exp(conf[1]) / (math.exp(conf[0]) + math.exp(conf[1])) if logits else conf[1]
    points = [((x + landm[2 * k] * 0.1 * w) * size[0], (y + landm[2 * k + 1] * 0.1 * h) * size[1]) for k in range(5)]
    left, top = (cx - bw / 2) * size[0], (cy - bh / 2) * size[1]
    return HandFace([left, top, left + bw * size[0], top + bh * size[1]], score, points)


def yunet(outputs: Outputs, width: int, height: int) -> list[HandFace]:
    """Every cell as a face, from ``cls_8`` (n, 1), ``obj_8`` (n, 1), ``bbox_8`` (n, 4), ``kps_8`` (n, 10) and so on."""
    faces = []
    for stride in (8, 16, 32):
        columns = math.ceil(width / stride)
        cls, obj, bbox, kps = (outputs[f"{key}_{stride}"] for key in ("cls", "obj", "bbox", "kps"))
        for row in range(columns * math.ceil(height / stride)):
            column, line = row % columns, row // columns
            score = math.sqrt(float(cls[row, 0]) * float(obj[row, 0]))
            cx, cy = (column + float(bbox[row, 0])) * stride, (line + float(bbox[row, 1])) * stride
            w, h = math.exp(float(bbox[row, 2])) * stride, math.exp(float(bbox[row, 3])) * stride
            points = [
                ((column + float(kps[row, 2 * k])) * stride, (line + float(kps[row, 2 * k + 1])) * stride)
                for k in range(5)
            ]
            faces.append(HandFace([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], score, points))
    return faces


def suppress(faces: list[HandFace], *, min_score: float, iou: float, most: int, plus: float) -> list[HandFace]:
    """Greedy non-maximum suppression; ``plus`` is added to widths and heights where overlaps are measured."""
    left = sorted((face for face in faces if face.score >= min_score), key=lambda face: -face.score)
    kept: list[HandFace] = []
    for face in left:
        if all(overlap(face, better, plus) <= iou for better in kept):
            kept.append(face)
    return kept[:most]


def overlap(one: HandFace, other: HandFace, plus: float) -> float:
    """Intersection over union."""
    a, b = one.box, other.box
    width = min(a[2], b[2]) - max(a[0], b[0]) + plus
    height = min(a[3], b[3]) - max(a[1], b[1]) + plus
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0] + plus) * (box[3] - box[1] + plus) for box in (a, b)]
    return both / (sum(areas) - both)


def is_clear_cut(faces: list[HandFace], *, min_score: float, iou: float, plus: float, margin: float = 1e-4) -> bool:
    """Whether no decision hangs on the last digits: no score and no overlap within ``margin`` of its threshold."""
    if any(abs(face.score - min_score) < margin for face in faces):
        return False
    good = sorted((face for face in faces if face.score >= min_score), key=lambda face: face.score)
    if any(b.score - a.score < 1e-6 for a, b in itertools.pairwise(good)):
        return False
    return all(abs(overlap(one, other, plus) - iou) > margin for i, one in enumerate(good) for other in good[:i])
