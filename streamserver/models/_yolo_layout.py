"""Which of the many output layouts of YOLOX, YOLOv5 and YOLOv7 files a file has: found out from one run on grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.models._yolo_cells import Anchors, Cells, Rows, grid_wh, strides_of
from streamserver.models.network import Outputs

BOX_COLUMNS = 5
"""x, y, width, height and objectness; points, if there are any, and the classes follow."""

_OBJECTNESS = 4
_SHARE_TOLERANCE = 0.02
"""Quantised files overshoot 0 and 1 by a step."""

_MOST_PART = 0.5


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a family's outputs have in common.

    Attributes:
        label: the family in messages.
        anchor_sets: for each number of grids the anchors of the usual files; ``None`` for one row a cell.
        points: points after the objectness of each row.
        flat_is_decoded: whether the usual file with one output has decoded its boxes itself.
    """

    label: str
    anchor_sets: tuple[tuple[int, Anchors | None], ...]
    points: int = 0
    flat_is_decoded: bool = True

    @property
    def class_column(self) -> int:
        """Where the classes begin."""
        return BOX_COLUMNS + 2 * self.points

    def per_cell(self, anchors: Anchors | None) -> int:
        """Rows for each cell."""
        return 1 if anchors is None else len(anchors[0])


@dataclass(frozen=True, slots=True)
class _View:
    """One output as (…, columns): which one, and how its first picture is cut and turned; nothing is copied."""

    output: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def of(self, outputs: Outputs) -> FloatArray:
        """The rows of the first picture."""
        view: FloatArray = outputs[self.output][0].reshape(self.shape).transpose(self.axes)
        return view


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Outputs with one row for every anchor of every cell.

    Attributes:
        words: the layout in words.
        cells: what the rows stand for.
        columns: numbers a row.
        activated: scores are shares from 0 to 1 already (and, where boxes are not decoded, so are those).
        unit_wh: of decoded boxes, how many pixels a 1 is, across and down; ``None`` where boxes are not decoded.
    """

    words: str
    cells: Cells
    columns: int
    activated: bool
    unit_wh: tuple[float, float] | None
    views: tuple[_View, ...]

    @property
    def turned(self) -> bool:
        """Of a file with one output: its rows and columns are exchanged."""
        return self.views[0].axes == (1, 0)

    def rows(self, outputs: Outputs, *, least_objectness: float) -> tuple[FloatArray, Rows]:
        """The rows (n, columns) whose objectness, as the file gives it, is no less, and which of the cells they are."""
        values, numbers, first = [], [], 0
        for view in self.views:
            table = view.of(outputs)
            objectness = table[..., _OBJECTNESS].ravel()
            good = np.flatnonzero(objectness >= least_objectness)
            values.append(table[good if table.ndim == 2 else np.unravel_index(good, table.shape[:-1])])
            numbers.append(good + first)
            first += len(objectness)
        return (values[0], numbers[0]) if len(values) == 1 else (np.concatenate(values), np.concatenate(numbers))


@dataclass(frozen=True, slots=True)
class ListLayout:
    """Outputs that are a list of objects: thresholds and suppression are inside the file.

    Attributes:
        words: the layout in words.
        kind: ``rows7``, ``rows6``, ``dets_labels`` or ``four``.
        order: of ``four``, where boxes, scores and classes are among the outputs, and the count.
    """

    words: str
    kind: str
    order: tuple[int, ...] = ()

    def objects(self, outputs: Outputs) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
        """Boxes (n, 4) as corners, scores (n,) and class numbers (n,) of the first picture."""
        if self.kind == "rows7":
            rows = outputs[0][outputs[0][:, 0] == 0]
            return rows[:, 1:5], rows[:, 6], rows[:, 5].astype(np.int64)
        if self.kind == "rows6":
            rows = outputs[0][0]
            return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
        if self.kind == "dets_labels":
            rows, labels = outputs[self.order[0]][0], outputs[self.order[1]][0]
            return rows[:, :4], rows[:, 4], labels.astype(np.int64)
        count, boxes, scores, classes = (outputs[i][0] for i in self.order)
        n = int(count.ravel()[0])
        return boxes[:n], scores[:n].astype(np.float32), classes[:n].astype(np.int64)


def find_layout(
    outputs: Outputs, names: Sequence[str], size_wh: tuple[int, int], scheme: Scheme
) -> GridLayout | ListLayout:
    """The layout of what a network said of a grey picture.

    Raises:
        ValueError: none of the family's layouts fits; says which were expected and what was found.
    """
    found = _find_flat(outputs, size_wh, scheme) or _find_heads(outputs, size_wh, scheme) or _find_list(outputs, names)
    if found is None:
        raise ValueError(_no_layout(outputs, names, size_wh, scheme))
    return found


def _find_flat(outputs: Outputs, size_wh: tuple[int, int], scheme: Scheme) -> GridLayout | None:
    """One output with all rows; older exports have the heads beside it, which are not needed then."""
    for number, output in enumerate(outputs):
        if output.ndim != 3 or not len(output):
            continue
        for levels, anchors in scheme.anchor_sets:
            cells = Cells.for_size(size_wh, levels, anchors)
            for axes in ((0, 1), (1, 0)):
                count, columns = (output.shape[1 + axis] for axis in axes)
                if count == len(cells) and columns > scheme.class_column:
                    view = _View(number, output.shape[1:], axes)
                    turned = "" if axes == (0, 1) else ", rows and columns exchanged"
                    return _grid_layout(
                        f"one output {list(output.shape)}{turned}", (view,), outputs, cells, scheme, size_wh
                    )
    return None


def _find_heads(outputs: Outputs, size_wh: tuple[int, int], scheme: Scheme) -> GridLayout | None:
    """One output a grid, in any order."""
    for levels, anchors in reversed(scheme.anchor_sets):
        per_cell = scheme.per_cell(anchors)
        views = [_find_head(outputs, grid_wh(size_wh, stride), per_cell, scheme) for stride in strides_of(levels)]
        chosen = [view for view in views if view is not None]
        if len(chosen) < levels or len({view.of(outputs).shape[-1] for view in chosen}) > 1:
            continue
        cells = Cells.for_size(size_wh, levels, anchors)
        shapes = ", ".join(str(list(outputs[view.output].shape)) for view in chosen)
        return _grid_layout(f"{levels} heads {shapes}", tuple(chosen), outputs, cells, scheme, size_wh)
    return None


def _find_head(outputs: Outputs, grid: tuple[int, int], per_cell: int, scheme: Scheme) -> _View | None:
    """The output of one grid, as (anchors, lines, columns of cells, numbers)."""
    wide, high = grid
    for number, output in enumerate(outputs):
        shape = output.shape[1:] if output.size else ()
        fits: tuple[tuple[int, ...], tuple[int, ...], int] | None = None
        if len(shape) == 4:
            named = {"anchor": per_cell, "line": high, "column": wide}
            fits = _match_five(shape, named)
        elif len(shape) == 3 and shape[1:] == (high, wide) and shape[0] % per_cell == 0:
            fits = (per_cell, shape[0] // per_cell, high, wide), (0, 2, 3, 1), shape[0] // per_cell
        elif len(shape) == 3 and shape[:2] == (high, wide) and shape[2] % per_cell == 0:
            fits = (high, wide, per_cell, shape[2] // per_cell), (2, 0, 1, 3), shape[2] // per_cell
        if fits is not None and fits[2] > scheme.class_column:
            return _View(number, fits[0], fits[1])
    return None


def _match_five(shape: tuple[int, ...], named: dict[str, int]) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
    """[1, 3, h, w, n], [1, 3, n, h, w] and [1, h, w, 3, n]: how to turn it into anchor, line, column, numbers."""
    anchor, line, column = named["anchor"], named["line"], named["column"]
    for axes in ((0, 1, 2, 3), (0, 2, 3, 1), (2, 0, 1, 3)):
        if tuple(shape[axis] for axis in axes[:3]) == (anchor, line, column):
            return shape, axes, shape[axes[3]]
    return None


def _grid_layout(
    words: str,
    views: tuple[_View, ...],
    outputs: Outputs,
    cells: Cells,
    scheme: Scheme,
    size_wh: tuple[int, int],
) -> GridLayout:
    """Finds out from the numbers what has been done to them inside the file."""
    tables = [view.of(outputs) for view in views]
    columns = tables[0].shape[-1]
    rows = np.concatenate([table.reshape(-1, columns) for table in tables]).astype(np.float32)
    scores = np.concatenate([rows[:, _OBJECTNESS:BOX_COLUMNS], rows[:, scheme.class_column :]], axis=1)
    activated = bool(scores.min() >= -_SHARE_TOLERANCE and scores.max() <= 1 + _SHARE_TOLERANCE)
    unit = _unit_of_boxes(rows, cells, size_wh) if len(views) == 1 else None
    if unit is None and len(views) == 1 and activated and scheme.flat_is_decoded:
        unit = (1.0, 1.0)
    decoded = "boxes not decoded" if unit is None else "boxes decoded" + ("" if unit == (1, 1) else ", 0 to 1")
    scored = "scores 0 to 1" if activated else "raw scores"
    return GridLayout(f"{words}, {decoded}, {scored}", cells, columns, activated, unit, views)


def _unit_of_boxes(rows: FloatArray, cells: Cells, size_wh: tuple[int, int]) -> tuple[float, float] | None:
    """How many pixels a 1 is in decoded boxes, judged by where most centres lie; ``None`` if they are not decoded."""
    for unit in ((1.0, 1.0), (float(size_wh[0]), float(size_wh[1]))):
        if cells.share_near(rows[:, :2] * np.array(unit, dtype=np.float32)) > _MOST_PART:
            return unit
    return None


def _find_list(outputs: Outputs, names: Sequence[str]) -> ListLayout | None:
    """Exports that hold the suppression: of YOLOv7 (--end2end), for TensorRT, of ultralytics and of mmdeploy."""
    shapes = [output.shape for output in outputs]
    if len(outputs) == 1 and len(shapes[0]) == 2 and shapes[0][1] == 7:
        return ListLayout("NMS inside: rows of picture, x1, y1, x2, y2, class, score", "rows7")
    if len(outputs) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1 and shapes[0][2] == 6:
        return ListLayout("NMS inside: rows of x1, y1, x2, y2, score, class", "rows6")
    if len(outputs) == 2:
        dets = next((i for i, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 5), None)
        if dets is not None and shapes[1 - dets] == shapes[dets][:2] and shapes[dets][0] == 1:
            return ListLayout("NMS inside: x1, y1, x2, y2, score, and labels", "dets_labels", (dets, 1 - dets))
    order = _order_of_four(outputs, names)
    return None if order is None else ListLayout("NMS inside: number, boxes, scores, classes", "four", order)


def _order_of_four(outputs: Outputs, names: Sequence[str]) -> tuple[int, ...] | None:
    """Where the count, the boxes, the scores and the classes are."""
    if len(outputs) != 4:
        return None
    boxes = next((i for i, output in enumerate(outputs) if output.ndim == 3 and output.shape[2] == 4), None)
    count = next((i for i, output in enumerate(outputs) if i != boxes and output.shape in ((1, 1), (1,))), None)
    if boxes is None or count is None:
        return None
    first, second = (i for i in range(4) if i not in (boxes, count))
    if any(outputs[i].shape != outputs[boxes].shape[:2] for i in (first, second)):
        return None
    swapped = np.issubdtype(outputs[first].dtype, np.integer) or "score" in names[second].lower()
    return (count, boxes, second, first) if swapped else (count, boxes, first, second)


def _no_layout(outputs: Outputs, names: Sequence[str], size_wh: tuple[int, int], scheme: Scheme) -> str:
    levels, anchors = scheme.anchor_sets[0]
    per_cell, rest = scheme.per_cell(anchors), f"{scheme.class_column}+classes"
    cells = Cells.for_size(size_wh, levels, anchors)
    fine_w, fine_h = grid_wh(size_wh, strides_of(1)[0])
    found = ", ".join(f"{name} {list(output.shape)}" for name, output in zip(names, outputs, strict=True))
    head = f"[1, {per_cell}, {fine_h}, {fine_w}, {rest}]" if per_cell > 1 else f"[1, {rest}, {fine_h}, {fine_w}]"
    text = (
        f"no {scheme.label} export: for an input of {size_wh[0]}x{size_wh[1]} expected one output [1, {len(cells)}, "
        f"{rest}] (or rows and columns exchanged), or one head a grid, {head} and coarser, or a list of objects with "
        f"the NMS inside, got {found}"
    )
    others = len(Cells.for_size(size_wh, levels, None)), 3 * len(Cells.for_size(size_wh, levels, None))
    sides = {side for output in outputs if output.ndim == 3 for side in output.shape[1:]}
    if per_cell > 1 and others[0] in sides:
        return f"{text}; {others[0]} rows are what YOLOv8 and YOLOX give"
    if per_cell == 1 and others[1] in sides:
        return f"{text}; {others[1]} rows are what YOLOv5 and YOLOv7 give"
    return text
