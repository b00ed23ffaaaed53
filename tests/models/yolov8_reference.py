"""YOLOv8's decoding written down a second time, one number at a time, to compare with."""

import math
from typing import Any

import numpy as np

Row = dict[str, Any]


def letterbox(picture_wh: tuple[int, int], network_wh: tuple[int, int]) -> tuple[float, float, int, int]:
    """Scale along x and y, and the left and top margin."""
    scale = min(network_wh[0] / picture_wh[0], network_wh[1] / picture_wh[1])
    inner = [max(1, int(side * scale + 1e-6)) for side in picture_wh]
    return (
        inner[0] / picture_wh[0],
        inner[1] / picture_wh[1],
        (network_wh[0] - inner[0]) // 2,
        (network_wh[1] - inner[1]) // 2,
    )


def objects(matrix: Any, *, classes: int, limit: float, iou: float, turned: bool = False) -> list[Row]:
    """Rows (box as centre and size, scores, the rest) to objects in pixels of the network's input, best first."""
    found = []
    for values in np.asarray(matrix, dtype=np.float64):
        scores = values[4 : 4 + classes]
        best = max(range(classes), key=lambda i: scores[i])
        if scores[best] >= limit:
            found.append({"box": values[:4], "score": scores[best], "class": best, "rest": values[4 + classes :]})
    found.sort(key=lambda row: -row["score"])
    kept: list[Row] = []
    for row in found:
        overlap = turned_overlap if turned else upright_overlap
        if not any(row["class"] == other["class"] and overlap(row, other) > iou for other in kept):
            kept.append(row)
    return kept[:300]


def to_picture(x: float, y: float, mapping: tuple[float, float, int, int]) -> tuple[float, float]:
    """A point of the network's input in pixels of the picture."""
    return (x - mapping[2]) / mapping[0], (y - mapping[3]) / mapping[1]


def corners(row: Row, mapping: tuple[float, float, int, int]) -> list[float]:
    """Left, top, right, bottom in pixels of the picture."""
    x, y, w, h = row["box"]
    return [*to_picture(x - w / 2, y - h / 2, mapping), *to_picture(x + w / 2, y + h / 2, mapping)]


def upright_overlap(first: Row, second: Row) -> float:
    """Intersection over union."""
    sides = []
    for axis in (0, 1):
        low = max(row["box"][axis] - row["box"][axis + 2] / 2 for row in (first, second))
        high = min(row["box"][axis] + row["box"][axis + 2] / 2 for row in (first, second))
        sides.append(max(0.0, high - low))
    shared = sides[0] * sides[1]
    return float(shared / (sum(row["box"][2] * row["box"][3] for row in (first, second)) - shared))


def turned_overlap(first: Row, second: Row) -> float:
    """ProbIoU by the general formula of the Bhattacharyya distance of two Gaussians."""
    means = [row["box"][:2] for row in (first, second)]
    spreads = []
    for row in (first, second):
        angle = row["rest"][-1]
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        spreads.append(turn @ np.diag([row["box"][2] ** 2 / 12, row["box"][3] ** 2 / 12]) @ turn.T)
    middle = (spreads[0] + spreads[1]) / 2
    shift = means[0] - means[1]
    distance = shift @ np.linalg.inv(middle) @ shift / 8
    distance += math.log(np.linalg.det(middle) / math.sqrt(np.linalg.det(spreads[0]) * np.linalg.det(spreads[1]))) / 2
    return 1 - math.sqrt(max(0.0, 1 - math.exp(-distance)))


def from_distributions(raw: Any, grid: list[tuple[float, float, int]], *, classes: int, angle: bool = False) -> Any:
    """Raw rows (64 box numbers, scores, the rest as the last layer gives it) to rows of decoded boxes.

    ``grid`` has the middle of each row's cell, in cells, and its stride.
    """
    rows = []
    for values, (x, y, stride) in zip(np.asarray(raw, dtype=np.float64), grid, strict=True):
        left, top, right, bottom = (mean_of(values[side * 16 : side * 16 + 16]) for side in range(4))
        scores = [1 / (1 + math.exp(-value)) for value in values[64 : 64 + classes]]
        rest = list(values[64 + classes :])
        dx, dy = (right - left) / 2, (bottom - top) / 2
        if angle:
            rest = [(1 / (1 + math.exp(-rest[0])) - 0.25) * math.pi]
            cos, sin = math.cos(rest[0]), math.sin(rest[0])
            dx, dy = dx * cos - dy * sin, dx * sin + dy * cos
        box = [(x + dx) * stride, (y + dy) * stride, (left + right) * stride, (top + bottom) * stride]
        rows.append([*box, *scores, *rest])
    return np.array(rows)


def mean_of(weights: Any) -> float:
    """The mean number of a distribution given by logits."""
    powers = [math.exp(weight) for weight in weights]
    return sum(number * power for number, power in enumerate(powers)) / sum(powers)


def grid_of(size_wh: tuple[int, int], strides: tuple[int, ...] = (8, 16, 32)) -> list[tuple[float, float, int]]:
    """The middle of each cell, in cells, and its stride, in the order of the rows."""
    return [
        (column + 0.5, row + 0.5, stride)
        for stride in strides
        for row in range(size_wh[1] // stride)
        for column in range(size_wh[0] // stride)
    ]


def mask_value(
    weights: Any, prototypes: Any, x: int, y: int, mapping: tuple[float, float, int, int], network_wh: tuple[int, int]
) -> float:
    """The logit at the middle of a pixel of the picture, between the four nearest points of the prototypes."""
    height, width = prototypes.shape[1:]
    column = ((x + 0.5) * mapping[0] + mapping[2]) * width / network_wh[0] - 0.5
    row = ((y + 0.5) * mapping[1] + mapping[3]) * height / network_wh[1] - 0.5
    column, row = min(max(column, 0), width - 1), min(max(row, 0), height - 1)
    total = 0.0
    for r, c in ((math.floor(row) + i, math.floor(column) + j) for i in (0, 1) for j in (0, 1)):
        share = (1 - abs(row - r)) * (1 - abs(column - c))
        if share > 0:
            total += share * float(weights @ prototypes[:, r, c])
    return total
