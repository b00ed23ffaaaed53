"""Which of the layouts of YOLOv8 exports a file has: found from the outputs for one grey picture."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError
from streamserver.models._yolov8_heads import BOX, END_TO_END, CellHead, Columns, EndToEndHead, Head, Task
from streamserver.models._yolov8_maps import find_map_head
from streamserver.models.network import Outputs
from streamserver.models.ultralytics import ExportNotes

_STRIDES = (4, 8, 16, 32, 64)
_USUAL = (1, 4)
"""The span of the strides 8, 16, 32."""

_FIRST_STRIDES = 3
"""How many of the strides can be the smallest of a network."""

_ANCHORS = 3
"""Boxes a cell of YOLOv5 and YOLOv7, by which their exports are recognised."""

_PIXELS = 4.0
"""Key points somewhere in a picture reach further than this."""

_OF_METADATA = {
    "detect": Task.DETECT,
    "pose": Task.POSE,
    "classify": Task.CLS,
    "segment": Task.SEG,
    "obb": Task.OBB,
}

_EXPECTED = {
    Task.DETECT: "[1, 4+classes, cells], that transposed, [1, n, 6] end to end, "
    "or raw maps [1, 64+classes, h, w] a stride",
    Task.POSE: "[1, 4+classes+3*points, cells], that transposed, [1, n, 6+3*points] end to end, or raw maps a stride",
    Task.CLS: "one output [1, classes]",
    Task.SEG: "[1, 4+classes+32, cells], that transposed, [1, n, 6+32] end to end, or raw maps a stride; each with "
    "prototypes [1, 32, H/4, W/4]",
    Task.OBB: "[1, 4+classes+1, cells], that transposed, [1, n, 7] end to end, or raw maps a stride",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a network gave for a grey picture, and what is known of it.

    Attributes:
        name: the file's.
        outputs: as the network gave them, with the batch in front.
        size_wh: of the network's input.
        notes: what the exporter wrote into the file.
        keypoints: number and form of the key points, when somebody says.
    """

    name: str
    outputs: Outputs
    size_wh: tuple[int, int]
    notes: ExportNotes
    keypoints: tuple[int, int] | None = None

    @property
    def shapes(self) -> str:
        """The outputs in words."""
        return ", ".join(str(list(output.shape)) for output in self.outputs)


def task_of(notes: ExportNotes) -> Task | None:
    """What the file says it is for."""
    return _OF_METADATA.get(notes.task)


def find_head(sample: Sample, task: Task) -> Head | None:
    """How to read a network for ``task`` (``None`` of ``Cls``, which has no boxes).

    Raises:
        ModelError: the file is for another task, or no YOLOv8 export; says what was expected and found.
    """
    noted = task_of(sample.notes)
    if noted is not None and noted is not task:
        raise _other_task(sample, noted, task, f"its metadata say '{sample.notes.task}'")
    if task is Task.CLS:
        scores = class_scores(sample)
        if scores is None:
            raise _no_layout(sample, task)
        _compare_names(sample, scores.shape[1])
        return None
    head = read_head(sample, task)
    if head is None:
        raise _no_layout(sample, task)
    looks = None if noted else _looks_like(sample, head, task)
    if looks is not None:
        raise _other_task(sample, looks, task, f"the numbers of its output {sample.shapes} say so")
    _compare_names(sample, head.columns.classes)
    return head


def read_head(sample: Sample, task: Task) -> Head | None:
    """How boxes are to be read for ``task``; ``None`` when the outputs cannot be for it."""
    prototypes = find_prototypes(sample) if task is Task.SEG else None
    if task is Task.SEG and prototypes is None:
        return None
    shape = () if prototypes is None else sample.outputs[prototypes].shape
    masks = shape[mask_axis(shape, sample.size_wh)] if shape else 0
    one_map = sum(output.ndim == 4 for output in sample.outputs) == 1
    if task is not Task.SEG and one_map and task_of(sample.notes) is None and _flat(sample):
        return None  # boxes and one map: those are the prototypes of Seg
    return _flat_head(sample, task, masks) or find_map_head(
        sample.outputs,
        sample.size_wh,
        task,
        extra=functools.partial(_columns, sample, task, masks),
        skip=prototypes,
        classes=len(sample.notes.names),
    )


def class_scores(sample: Sample) -> FloatArray | None:
    """The only output of a classifier, (1, classes); ``None`` when there is no such output."""
    if len(sample.outputs) != 1:
        return None
    shape = sample.outputs[0].shape
    flat = len(shape) >= 2 and shape[0] == 1 <= shape[1] and all(side == 1 for side in shape[2:])
    scores: FloatArray | None = sample.outputs[0].reshape(1, -1) if flat else None
    return scores


def find_prototypes(sample: Sample) -> int | None:
    """Which output holds the prototypes of masks: the map with the most points."""
    shapes = [output.shape for output in sample.outputs]
    points = {
        i: math.prod(shape[1:]) // shape[mask_axis(shape, sample.size_wh)]
        for i, shape in enumerate(shapes)
        if len(shape) == 4 and shape[0] > 0 and min(shape[1:]) > 1
    }
    return max(points, key=lambda i: (points[i], i), default=None)


def mask_axis(shape: tuple[int, ...], size_wh: tuple[int, int]) -> int:
    """Which side of prototypes counts the masks, (n, masks, h, w) or (n, h, w, masks): h and w are as the input's."""
    last = shape[1] * size_wh[0] == shape[2] * size_wh[1] and shape[2] * size_wh[0] != shape[3] * size_wh[1]
    return 3 if last else 1


def _flat(sample: Sample) -> list[int]:
    """The outputs that may be lists of boxes: (1, rows, columns) with room for box and score."""
    shapes = [output.shape for output in sample.outputs]
    return [i for i, shape in enumerate(shapes) if len(shape) == 3 and shape[0] > 0 and min(shape[1:]) != 1]


def _flat_head(sample: Sample, task: Task, masks: int) -> Head | None:
    """A head whose boxes stand in one output of three sides."""
    heads = []
    for index in _flat(sample):
        first, second = sample.outputs[index].shape[1:]
        counts = dict(_cell_counts(sample.size_wh))
        by_cell = first in counts or second in counts
        if sample.notes.end_to_end or not by_cell:
            heads += _end_to_end(sample, task, masks, index)
        elif by_cell:
            heads += _cell_head(sample, task, masks, index, counts, transposed=second not in counts)
    return heads[0] if len(heads) == 1 else None


def _cell_head(
    sample: Sample, task: Task, masks: int, index: int, counts: dict[int, str], *, transposed: bool
) -> list[Head]:
    shape = sample.outputs[index].shape
    cells, numbers = (shape[1], shape[2]) if transposed else (shape[2], shape[1])
    columns = _columns(sample, task, masks, numbers - BOX)
    if columns is None:
        return []

    def rows(outputs: Outputs) -> FloatArray:
        matrix: FloatArray = outputs[index][0]
        return matrix if transposed else matrix.T

    scores = rows(sample.outputs)[:, BOX : BOX + columns.classes]
    words = (
        f"{list(shape)}{', transposed' if transposed else ''}: box, {_in_words(columns)} for each of {cells} cells "
        f"(strides {counts[cells]})"
    )
    return [CellHead(columns=columns, words=words, rows=rows, logits=not within_unit(scores))]


def _end_to_end(sample: Sample, task: Task, masks: int, index: int) -> list[Head]:
    shape = sample.outputs[index].shape
    extra = shape[2] - END_TO_END
    points = _with_points(sample, extra + 1, classes=1) if task is Task.POSE else None
    fits = {
        Task.DETECT: extra == 0,
        Task.OBB: extra == 1,
        Task.SEG: extra == masks,
        Task.POSE: points is not None and points.classes == 1,
    }[task]
    if not fits:
        return []
    keypoints = (0, 0) if points is None else points.keypoints
    columns = Columns(len(sample.notes.names), keypoints, masks, int(task is Task.OBB))
    words = f"{list(shape)}, end to end: box, score, class{_extra_words(columns)} for each of up to {shape[1]} objects"
    return [EndToEndHead(columns=columns, words=words, index=index)]


def _columns(sample: Sample, task: Task, masks: int, numbers: int) -> Columns | None:
    """What ``numbers`` after the box mean; ``None`` when they are too few or cannot be divided so."""
    if task is Task.POSE:
        return _with_points(sample, numbers, classes=len(sample.notes.names) or 1)
    angles = int(task is Task.OBB)
    classes = numbers - masks - angles
    return Columns(classes, masks=masks, angles=angles) if classes >= 1 else None


def _with_points(sample: Sample, numbers: int, *, classes: int) -> Columns | None:
    """``numbers`` as scores and key points: those the file speaks of, else ``classes`` and points of 3 or 2 numbers."""
    known = sample.keypoints or sample.notes.keypoints
    if known is not None:
        rest = numbers - known[0] * known[1]
        return Columns(rest, keypoints=known) if rest >= 1 and known[1] in (2, 3) else None
    points = numbers - classes
    each = next((each for each in (3, 2) if points > 0 and points % each == 0), None)
    return None if each is None else Columns(classes, keypoints=(points // each, each))


def _cell_counts(size_wh: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """How many cells two or more neighbouring strides have together, and the strides; the usual ones win."""
    cells = [-(-size_wh[0] // stride) * -(-size_wh[1] // stride) for stride in _STRIDES]
    spans = [(i, j) for i in range(_FIRST_STRIDES) for j in range(i + 2, len(_STRIDES) + 1)]
    for i, j in sorted(spans, key=lambda span: span == _USUAL):
        yield sum(cells[i:j]), ", ".join(map(str, _STRIDES[i:j]))


def within_unit(scores: FloatArray) -> bool:
    """Whether numbers are probabilities, give or take what half precision rounds."""
    return scores.size == 0 or bool(scores.min() > -0.01 and scores.max() < 1.01)


def _compare_names(sample: Sample, count: int) -> None:
    names = sample.notes.names
    if names and count and len(names) != count:
        raise ModelError(
            f"'{sample.name}' names {len(names)} classes in its metadata, but its output {sample.shapes} has {count}",
            cure="export it again",
        )


def _looks_like(sample: Sample, head: Head, task: Task) -> Task | None:
    """Another task that the numbers of an output without metadata speak for."""
    if not isinstance(head, CellHead) or head.grid is not None:
        return None
    matrix = head.rows(sample.outputs)
    if task is Task.DETECT and head.logits:
        if has_points(sample, matrix):
            return Task.POSE
        if matrix.shape[1] > BOX + 1 and within_unit(matrix[:, BOX:-1]) and np.abs(matrix[:, -1]).max() < np.pi:
            return Task.OBB
    if task is Task.POSE and within_unit(matrix[:, BOX:]) and matrix[:, BOX:].max() > 0:
        return Task.DETECT
    return None


def has_points(sample: Sample, matrix: FloatArray) -> bool:
    """Whether what follows the box can be scores, and points in pixels with probabilities."""
    columns = _columns(sample, Task.POSE, 0, matrix.shape[1] - BOX)
    if columns is None or columns.keypoints[1] != 3:
        return False
    points = matrix[:, BOX + columns.classes :].reshape(len(matrix), *columns.keypoints)
    sure = within_unit(matrix[:, BOX : BOX + columns.classes]) and within_unit(points[..., 2])
    return sure and bool(np.abs(points[..., :2]).max() > _PIXELS)


def _in_words(columns: Columns) -> str:
    return f"{columns.classes} class{'es' if columns.classes != 1 else ''}{_extra_words(columns)}"


def _extra_words(columns: Columns) -> str:
    count, numbers = columns.keypoints
    parts = [f"{count} key points of {numbers} numbers"] if count else []
    parts += [f"{columns.masks} mask coefficients"] if columns.masks else []
    parts += ["an angle"] if columns.angles else []
    return "".join(f", {part}" for part in parts)


def _other_task(sample: Sample, right: Task, wrong: Task, why: str) -> ModelError:
    return ModelError(f"'{sample.name}' is for {right}, not for {wrong}: {why}", cure=f"set task_type to '{right}'")


def _no_layout(sample: Sample, task: Task) -> ModelError:
    others = [other for other in Task if other is not task and _fits(sample, other)]
    hint = f", which fits {' or '.join(others)}" if others else _anchors_hint(sample)
    return ModelError(
        f"'{sample.name}' is no YOLOv8 network for {task}: with pictures of {sample.size_wh[0]}x{sample.size_wh[1]} "
        f"expected {_EXPECTED[task]}; found {sample.shapes}{hint}",
        cure=f"set task_type to '{others[0]}'" if others else "",
    )


def _fits(sample: Sample, task: Task) -> bool:
    return class_scores(sample) is not None if task is Task.CLS else read_head(sample, task) is not None


def _anchors_hint(sample: Sample) -> str:
    counts = dict(_cell_counts(sample.size_wh))
    for output in sample.outputs:
        raw = output.ndim == 5 and output.shape[1] == _ANCHORS
        flat = output.ndim == 3 and output.shape[1] % _ANCHORS == 0 and output.shape[1] // _ANCHORS in counts
        if raw or flat:
            return f": {_ANCHORS} boxes a cell, as YOLOv5 and YOLOv7 have them"
    return ""
