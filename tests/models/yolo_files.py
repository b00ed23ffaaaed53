"""ONNX files with fixed outputs, in the forms in which yolo networks are exported, and a plain reference for each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

STRIDES = (8, 16, 32, 64)


def write(
    path: Path,
    outputs: Mapping[str, Array],
    *,
    shape: Sequence[int | str | None] = (1, 3, 64, 64),
    dtype: int = TensorProto.FLOAT,
    step: float | None = None,
    free_length: bool = False,
) -> Path:
    """A file that says the same of every picture.

    Args:
        path: where to write it.
        outputs: by name; float64 arrays are written as float32.
        shape: of the input, called ``images``.
        dtype: of the input.
        free_length: how many rows an output has is known only when the network runs; for an input of floats.
        step: floating outputs are stored as int8 in units of this and dequantised by the network.
    """
    nodes, constants, infos = [], [], []
    for name, array in outputs.items():
        value = array.astype(np.float32) if array.dtype == np.float64 else array
        if step is not None and value.dtype == np.float32:
            scale, zero = numpy_helper.from_array(np.array(step, dtype=np.float32), f"{name}_s"), f"{name}_z"
            constants += [scale, numpy_helper.from_array(np.array(0, dtype=np.int8), zero)]
            constants.append(numpy_helper.from_array(np.rint(value / step).astype(np.int8), f"{name}_q"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", zero], [name]))
        else:
            constants.append(numpy_helper.from_array(value, f"{name}_c"))
            nodes += _as_long_as_it_turns_out(f"{name}_c", name) if free_length else [_same(f"{name}_c", name)]
        sides: list[int | str] = ["n", *value.shape[1:]] if free_length else list(value.shape)
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), sides))
    if free_length:
        constants.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "first"))
        constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "one"))
        constants.append(numpy_helper.from_array(np.array([1e6], dtype=np.float32), "many"))
    images = helper.make_tensor_value_info("images", dtype, list(shape))
    graph = helper.make_graph(nodes, "fixed", [images], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def _same(source: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [name])


def _as_long_as_it_turns_out(source: str, name: str) -> list[onnx.NodeProto]:
    """Cuts an output at a row number that is worked out from the picture (and is never reached)."""
    return [
        helper.make_node("ReduceMax", ["images"], [f"{name}_max"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Slice", [f"{name}_max", "first", "one"], [f"{name}_first"]),
        helper.make_node("Add", [f"{name}_first", "many"], [f"{name}_sum"]),
        helper.make_node("Cast", [f"{name}_sum"], [f"{name}_end"], to=TensorProto.INT64),
        helper.make_node("Slice", [source, "first", f"{name}_end", "first"], [name]),
    ]


def write_mean(path: Path, cell: int, rows: Array, *, nhwc_uint8: bool) -> Path:
    """A file with one flat output in which the objectness of one cell is the mean of the first channel, 0 to 1."""
    shape = [1, 64, 64, 3] if nhwc_uint8 else [1, 3, 64, 64]
    where = np.zeros_like(rows, dtype=np.float32)
    where[0, cell, 4] = 1 / 255 if nhwc_uint8 else 1
    axis = 3 if nhwc_uint8 else 1
    constants = [
        numpy_helper.from_array(rows.astype(np.float32), "rows"),
        numpy_helper.from_array(where, "where"),
        numpy_helper.from_array(np.array(0, dtype=np.int64), "first"),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "first"], ["channel"], axis=axis),
        helper.make_node("ReduceMean", ["channel"], ["mean"], axes=[0, 1, 2], keepdims=0),
        helper.make_node("Mul", ["where", "mean"], ["said"]),
        helper.make_node("Add", ["rows", "said"], ["output"]),
    ]
    kind = TensorProto.UINT8 if nhwc_uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, rows.shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@dataclass(slots=True)
class Expected:
    """What the reference finds: rows of x1, y1, x2, y2, score, class and points, best first.

    ``margin`` says how near any decision was: results of a smaller one depend on rounding.
    """

    rows: list[list[float]]
    margin: float


def logistic(value: Any) -> Any:
    """The sigmoid in double precision."""
    return 1 / (1 + np.exp(-np.asarray(value, dtype=np.float64)))


def anchored_rows(heads: Sequence[Array], anchors: Any, *, points: int = 0) -> Array:
    """Heads (anchors, h, w, numbers) of logits to rows of decoded centre, size, objectness, points, classes."""
    rows = []
    for head, level_anchors, stride in zip(heads, anchors, STRIDES, strict=False):
        for a, (wide, high) in enumerate(level_anchors):
            for y in range(head.shape[1]):
                for x in range(head.shape[2]):
                    cell = head[a, y, x].astype(np.float64)
                    share = logistic(cell)
                    row = [(share[0] * 2 - 0.5 + x) * stride, (share[1] * 2 - 0.5 + y) * stride]
                    row += [(share[2] * 2) ** 2 * wide, (share[3] * 2) ** 2 * high, share[4]]
                    for k in range(points):
                        row += [cell[5 + 2 * k] * wide + x * stride, cell[6 + 2 * k] * high + y * stride]
                    rows.append([*row, *share[5 + 2 * points :]])
    return np.array(rows)


def yolox_rows(raw: Array, side: int) -> Array:
    """Rows (n, numbers) of a YOLOX export of a square input to rows of decoded centre, size, objectness, classes."""
    rows, i = [], 0
    for stride in STRIDES[:3]:
        for y in range(side // stride):
            for x in range(side // stride):
                row = raw[i].astype(np.float64)
                size = np.exp(row[2:4]) * stride
                rows.append([(row[0] + x) * stride, (row[1] + y) * stride, *size, *row[4:]])
                i += 1
    return np.array(rows)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0


def reference(rows: Array, *, threshold: float, iou: float, by_class: bool, points: int = 0) -> Expected:
    """What a detector reports of decoded rows, written as plainly as can be."""
    margin, found = 1.0, []
    for row in rows:
        classes = [row[4] * score for score in row[5 + 2 * points :]]
        best = max(classes)
        margin = min(margin, abs(best - threshold), *(best - c for c in classes if c != best and best > threshold))
        if best >= threshold:
            cx, cy, w, h = row[:4]
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            found.append([*box, best, float(classes.index(best)), *row[5 : 5 + 2 * points]])
    found.sort(key=lambda item: -item[4])
    kept: list[list[float]] = []
    for item in found:
        shares = [overlap(item, other) for other in kept if not by_class or other[5] == item[5]]
        margin = min([margin, *(abs(share - iou) for share in shares)])
        if all(share <= iou for share in shares):
            kept.append(item)
    gaps = [a[4] - b[4] for a, b in itertools.pairwise(found)]
    return Expected(kept, min([margin, *gaps]))
