"""Exports of YOLOv8 that end before the boxes are put together: one to four maps for each stride."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamserver.core.arrays import FloatArray
from streamserver.models._yolov8_heads import BOX, CellHead, Columns, Grid, Task
from streamserver.models.network import Outputs

_BINS = 16
"""Numbers for each side of a box in all published networks."""

_LEAST_LEVELS = 2


@dataclass(frozen=True, slots=True)
class _Level:
    """The maps of one stride: size in cells, and the outputs in the order box, classes, rest."""

    columns: int
    rows: int
    stride: int
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    channels_last: bool

    def reordered(self, order: list[int]) -> _Level:
        """The same with only these maps, in this order."""
        indices, channels = ([values[i] for i in order] for values in (self.indices, self.channels))
        return dataclasses.replace(self, indices=tuple(indices), channels=tuple(channels))

    def matrix(self, outputs: Outputs) -> FloatArray:
        """(channels, cells)."""
        maps = [outputs[i][0] for i in self.indices]
        if self.channels_last:
            maps = [picture.transpose(2, 0, 1) for picture in maps]
        joined: FloatArray = np.concatenate([picture.reshape(len(picture), -1) for picture in maps])
        return joined


def find_map_head(
    outputs: Outputs,
    size_wh: tuple[int, int],
    task: Task,
    *,
    extra: Callable[[int], Columns | None],
    skip: int | None,
    classes: int,
) -> CellHead | None:
    """A head of raw maps; ``None`` when the outputs are none.

    Args:
        outputs: what the network gave for a grey picture.
        size_wh: of the network's input.
        task: what it is for.
        extra: takes how many numbers follow the box, says what they are.
        skip: the output that holds prototypes.
        classes: how many classes the file names; 0 when it does not say.
    """
    levels = _levels(outputs, size_wh, skip)
    if len(levels) < _LEAST_LEVELS or len({(level.channels, level.channels_last) for level in levels}) != 1:
        return None
    ordered = _order(levels[0].channels, task, extra)
    if ordered is None:
        return None
    levels = [level.reordered(ordered) for level in levels]
    bins = _bins(levels[0].channels, classes, extra)
    columns = extra(sum(levels[0].channels) - BOX * bins)
    if columns is None:
        return None

    def rows(outputs: Outputs) -> FloatArray:
        joined: FloatArray = np.concatenate([level.matrix(outputs) for level in levels], axis=1)
        return joined.T

    scores = rows(outputs)[:, BOX * bins : BOX * bins + columns.classes]
    grid = Grid.for_levels([(level.columns, level.rows, level.stride) for level in levels])
    probabilities = bool(scores.min() >= 0 and scores.max() <= 1)
    words = _words(levels, columns, bins, outputs)
    return CellHead(columns=columns, words=words, rows=rows, logits=not probabilities, grid=grid, bins=bins)


def _levels(outputs: Outputs, size_wh: tuple[int, int], skip: int | None) -> list[_Level]:
    """The maps by stride, smallest stride first; none when a map has the size of no stride."""
    maps = [i for i, output in enumerate(outputs) if output.ndim == 4 and output.size and i != skip]
    for channels_last in (False, True):
        found: dict[int, list[int]] = {}
        for index in maps:
            found.setdefault(_stride(_cells(outputs[index].shape, channels_last), size_wh), []).append(index)
        if 0 not in found:
            return [_level(outputs, stride, found[stride], channels_last) for stride in sorted(found)]
    return []


def _level(outputs: Outputs, stride: int, indices: list[int], channels_last: bool) -> _Level:
    columns, rows = _cells(outputs[indices[0]].shape, channels_last)
    channels = tuple(outputs[i].shape[3 if channels_last else 1] for i in indices)
    return _Level(columns, rows, stride, tuple(indices), channels, channels_last)


def _cells(shape: tuple[int, ...], channels_last: bool) -> tuple[int, int]:
    return (shape[2], shape[1]) if channels_last else (shape[3], shape[2])


def _stride(cells: tuple[int, int], size_wh: tuple[int, int]) -> int:
    """Pixels of the input a cell; 0 when the map is no even division of it."""
    stride = size_wh[0] // max(1, cells[0])
    return stride if stride > 1 and (cells[0] * stride, cells[1] * stride) == size_wh else 0


def _order(channels: tuple[int, ...], task: Task, extra: Callable[[int], Columns | None]) -> list[int] | None:
    """The maps of a level as box, classes, rest; a map of summed scores, which some exporters add, is left out."""
    if len(channels) == 1:
        return [0]
    alone = [i for i, count in enumerate(channels) if count == BOX * _BINS] or [
        i for i, count in enumerate(channels) if count == BOX
    ]
    box = alone[0] if alone else max(range(len(channels)), key=lambda i: channels[i])
    others = [i for i in range(len(channels)) if i != box]
    if task is Task.DETECT:
        sums = others[1:]
        return [box, others[0]] if alone and all(channels[i] == 1 for i in sums) else None
    numbers = sum(channels) - (channels[box] if alone else BOX * _BINS)
    columns = extra(numbers)
    last = [i for i in others if columns is not None and channels[i] == columns.extra]
    return [box, *(i for i in others if i != last[-1]), last[-1]] if last else None


def _bins(channels: tuple[int, ...], classes: int, extra: Callable[[int], Columns | None]) -> int:
    """Numbers for each side of a box."""
    if len(channels) > 1 and channels[0] == BOX:
        return 1
    if len(channels) == 1 and classes:
        total = channels[0]
        fitting = [bins for bins in range(1, total // BOX + 1) if _has_classes(extra(total - BOX * bins), classes)]
        return fitting[0] if len(fitting) == 1 else _BINS
    return _BINS


def _has_classes(columns: Columns | None, classes: int) -> bool:
    return columns is not None and columns.classes == classes


def _words(levels: list[_Level], columns: Columns, bins: int, outputs: Outputs) -> str:
    maps = " and ".join(str(list(outputs[i].shape)) for i in levels[0].indices)
    sides = f"distributions of {bins} numbers" if bins > 1 else "distances"
    strides = ", ".join(str(level.stride) for level in levels)
    return (
        f"raw maps for each of the strides {strides}, the first {maps}: the four sides as {sides}, "
        f"{columns.classes} class{'es' if columns.classes != 1 else ''}"
        f"{', then ' + str(columns.extra) + ' more' if columns.extra else ''}"
    )
