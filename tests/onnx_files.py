"""Small ONNX files with the inputs and outputs of well-known networks and random weights, for tests without weights.

Each is a pooling layer and a 1x1 convolution per output level, so what comes out depends on the picture and costs
almost nothing. Detectors find something at ``SPOTS`` whatever they see, so that what follows them has work to do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamserver.models._skeletons import COCO_18

SPOTS = ((0.3, 0.4), (0.6, 0.5), (0.7, 0.4))
"""Where made detectors find their objects: x and y as shares of the network's input."""

STRIDES = (8, 16, 32)

_OPSET = 13
_IR_VERSION = 8
_SURE, _NEVER = 6.0, -9.0
"""Logits that are as good as yes and no."""


class Net:
    """A network being put together; every operation returns the name of its output."""

    def __init__(self, *shape: int | str, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self._inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names = (f"t{i}" for i in itertools.count())

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A tensor of the file."""
        name = next(self._names)
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        name = next(self._names)
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """The parts of a tensor along one axis."""
        names = [next(self._names) for _ in sizes]
        parts = self.constant(list(sizes), np.int64)
        self._nodes.append(helper.make_node("Split", [tensor, parts], names, axis=axis))
        return names

    def reshape(self, tensor: str, *shape: int) -> str:
        """The same numbers in another shape."""
        return self.op("Reshape", tensor, self.constant(list(shape), np.int64))

    def level(self, stride: int, channels: int, *, colours: int = 3, scale: float = 0.05) -> str:
        """(1, channels, H / stride, W / stride): a mixture of each cell's mean colour, near 0 for pixels 0 to 1."""
        pooled = self.op("AveragePool", "images", kernel_shape=[stride, stride], strides=[stride, stride])
        weights = self.constant(self.rng.normal(0, scale, (channels, colours, 1, 1)))
        return self.op("Conv", pooled, weights)

    def save(self, path: Path, **outputs: tuple[str, Sequence[int | str]]) -> Path:
        """Writes the file; ``outputs`` are name, tensor and shape."""
        infos = []
        for name, (tensor, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        graph = helper.make_graph(self._nodes, path.stem, self._inputs, infos, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path


def yolov5(path: Path, *, side: int = 640, classes: int = 80, found: Sequence[int] = (0,), seed: int = 0) -> Path:
    """Three raw heads ``[1, 3, h, w, 5 + classes]``, also those of yolov7; finds ``found`` in turn at ``SPOTS``."""
    net = Net(1, 3, side, side, seed=seed)
    outputs: dict[str, tuple[str, Sequence[int | str]]] = {}
    for number, stride in enumerate(STRIDES):
        cells = side // stride
        raw = net.reshape(net.level(stride, 3 * (5 + classes)), 1, 3, 5 + classes, cells, cells)
        boxes, objectness, scores = net.split(raw, (4, 1, classes), axis=2)
        marks = np.full((1, 3, 1, cells, cells), _NEVER)
        kinds = np.zeros((1, 1, classes, cells, cells))
        if stride == STRIDES[1]:
            for row, column, kind in _marked(cells, cells, found):
                marks[0, 0, 0, row, column] = _SURE
                kinds[0, 0, kind, row, column] = _SURE
        objectness = net.op("Add", objectness, net.constant(marks))
        scores = net.op("Add", scores, net.constant(kinds if kinds.any() else 0.0))
        joined = net.op("Concat", boxes, objectness, scores, axis=2)
        head = net.op("Transpose", joined, perm=[0, 1, 3, 4, 2])
        outputs[f"output{number}"] = (head, (1, 3, cells, cells, 5 + classes))
    return net.save(path, **outputs)


def yolov8(
    path: Path, *, side: int = 640, classes: int = 80, extra: int = 0, found: Sequence[int] = (0,), seed: int = 0
) -> Path:
    """``[1, 4 + classes + extra, N]``; ``extra`` is 1 (Obb: an angle), 51 (Pose) or 0; finds ``found`` at ``SPOTS``."""
    net = Net(1, 3, side, side, seed=seed)
    columns = []
    for stride in STRIDES:
        cells = side // stride
        raw = net.reshape(net.level(stride, 4 + classes + extra), 1, 4 + classes + extra, cells * cells)
        parts = net.split(raw, (4, classes, extra) if extra else (4, classes), axis=1)
        parts[0] = net.op("Add", parts[0], net.constant(_grid_boxes(cells, stride)))
        kinds = np.full((1, classes, cells, cells), _NEVER)
        if stride == STRIDES[1]:
            for row, column, kind in _marked(cells, cells, found):
                kinds[0, kind, row, column] = _SURE
        added = kinds.reshape(1, classes, -1) if (kinds > 0).any() else _NEVER
        marked = net.op("Add", parts[1], net.constant(added))
        parts[1] = net.op("Sigmoid", marked)
        columns.append(net.op("Concat", *parts, axis=1))
    count = sum((side // stride) ** 2 for stride in STRIDES)
    joined = net.op("Concat", *columns, axis=2)
    return net.save(path, output0=(joined, (1, 4 + classes + extra, count)))


def retinaface(path: Path, *, side: int = 640, seed: int = 0) -> Path:
    """``loc`` [1, N, 4], ``conf`` [1, N, 2] (softmax inside) and ``landms`` [1, N, 10], two priors a cell."""
    net = Net(1, 3, side, side, seed=seed)
    count = sum(2 * (side // stride) ** 2 for stride in STRIDES)
    marks = []
    for stride in STRIDES:
        cells = side // stride
        level = np.zeros((cells, cells, 2, 2))
        level[..., 1] = _NEVER
        if stride == STRIDES[2]:
            for row, column, _ in _marked(cells, cells, (0,)):
                level[row, column, 0, 1] = _SURE
        marks.append(level.reshape(1, -1, 2))
    shifts = _rows(net, 4, scale=0.0002)
    scores = net.op("Add", _rows(net, 2, scale=0.0002), net.constant(np.concatenate(marks, axis=1)))
    return net.save(
        path,
        loc=(shifts, (1, count, 4)),
        conf=(net.op("Softmax", scores, axis=2), (1, count, 2)),
        landms=(_rows(net, 10, scale=0.0002), (1, count, 10)),
    )


def classifier(path: Path, *, size_wh: tuple[int, int], classes: int, colours: int = 3, seed: int = 0) -> Path:
    """``[1, colours, H, W]`` to ``[1, classes]``: also a feature extractor."""
    net = Net(1, colours, size_wh[1], size_wh[0], seed=seed)
    cells = net.op("AveragePool", "images", kernel_shape=[32, 32], strides=[32, 32])
    count = colours * (size_wh[0] // 32) * (size_wh[1] // 32)
    weights = net.constant(net.rng.normal(0, 1 / count**0.5, (count, classes)))
    return net.save(path, output=(net.op("MatMul", net.reshape(cells, 1, count), weights), (1, classes)))


def heatmaps(path: Path, *, size_wh: tuple[int, int], channels: int, stride: int, seed: int = 0) -> Path:
    """``[1, 3, H, W]`` to ``[1, channels, H / stride, W / stride]``, as fastpose gives (17, 26 maps).

    Each map has its peak somewhere else, for a fixed seed always at the same place.
    """
    net = Net(1, 3, size_wh[1], size_wh[0], seed=seed)
    grid_wh = (size_wh[0] // stride, size_wh[1] // stride)
    peaks = _peaks(_scattered(net, channels, grid_wh), grid_wh)[None]
    maps = net.op("Add", net.level(stride, channels, scale=0.001), net.constant(peaks))
    return net.save(path, output=(maps, (1, channels, grid_wh[1], grid_wh[0])))


def openpose(path: Path, *, size_wh: tuple[int, int] = (656, 368), seed: int = 0) -> Path:
    """``[1, 3, H, W]`` to the 57 maps of COCO_18 at an eighth of the size, in which there is always one person."""
    net = Net(1, 3, size_wh[1], size_wh[0], seed=seed)
    grid_wh = (size_wh[0] // 8, size_wh[1] // 8)
    joints = _scattered(net, COCO_18.joints, grid_wh)
    channels = COCO_18.heat_maps + COCO_18.field_maps
    maps = np.zeros((1, channels, grid_wh[1], grid_wh[0]))
    maps[0, : COCO_18.joints] = _peaks(joints, grid_wh)
    for (start, end), field in zip(COCO_18.limbs, COCO_18.fields, strict=True):
        way = joints[end] - joints[start]
        first = COCO_18.heat_maps + field
        maps[0, first : first + 2] = (way / np.linalg.norm(way))[:, None, None]
    added = net.op("Add", net.level(8, channels, scale=0.001), net.constant(maps))
    return net.save(path, output=(added, (1, channels, grid_wh[1], grid_wh[0])))


def clip_classifier(path: Path, *, shape: Sequence[int], classes: int, seed: int = 0) -> Path:
    """A tensor of heat maps over time, e.g. posec3d's [1, 10, 17, 48, 64, 64], to ``[1, classes]``."""
    net = Net(*shape, seed=seed)
    axes = list(range(2, len(shape)))
    pooled = net.reshape(net.op("ReduceMean", "images", axes=axes, keepdims=0), 1, shape[0] * shape[1])
    weights = net.constant(net.rng.normal(0, 1, (shape[0] * shape[1], classes)))
    return net.save(path, output=(net.op("MatMul", pooled, weights), (1, classes)))


def _scattered(net: Net, count: int, grid_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Points (count, 2) somewhere in the middle of the maps."""
    return net.rng.uniform(0.2, 0.8, (count, 2)) * grid_wh


def _peaks(centres_xy: npt.NDArray[np.float64], grid_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Maps (count, H, W), each with one round hill."""
    xs, ys = np.meshgrid(np.arange(grid_wh[0]), np.arange(grid_wh[1]))
    squared = (xs - centres_xy[:, :1, None]) ** 2 + (ys - centres_xy[:, 1:, None]) ** 2
    hills: npt.NDArray[np.float64] = np.exp(-squared / (2 * 2.0**2))
    return hills


def _rows(net: Net, columns: int, *, scale: float) -> str:
    """(1, N, columns): two rows a cell, all levels one after another."""
    levels = []
    for stride in STRIDES:
        level = net.op("Transpose", net.level(stride, 2 * columns, scale=scale), perm=[0, 2, 3, 1])
        levels.append(net.reshape(level, 1, -1, columns))
    return net.op("Concat", *levels, axis=1)


def _marked(columns: int, rows: int, found: Sequence[int]) -> list[tuple[int, int, int]]:
    """Row, column and class of the cells of ``SPOTS``."""
    kinds = itertools.cycle(found)
    return [(int(y * rows), int(x * columns), next(kinds)) for x, y in SPOTS]


def _grid_boxes(cells: int, stride: int) -> npt.NDArray[np.float32]:
    """(1, 4, cells * cells): a box around each cell's centre, six cells wide and high, in pixels."""
    xs, ys = np.meshgrid(np.arange(cells) + 0.5, np.arange(cells) + 0.5)
    sides = np.full(cells * cells, 6.0)
    return (np.stack([xs.ravel(), ys.ravel(), sides, sides])[None] * stride).astype(np.float32)


def with_batch(source: Path, target: Path, count: int | None) -> Path:
    """The network of a file for ``count`` pictures a run, ``None`` for any number, written to ``target``.

    It has to be one that comes through: pictures meet only where a Reshape names their number.
    """
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        side = value.type.tensor_type.shape.dim[0]
        side.Clear()
        if count is None:
            side.dim_param = "n"
        else:
            side.dim_value = count
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    constants = [constant for constant in model.graph.initializer if constant.name in shapes]
    nodes = [node for node in model.graph.node if node.op_type == "Constant" and node.output[0] in shapes]
    for shape in (*constants, *(node.attribute[0].t for node in nodes)):
        sizes = numpy_helper.to_array(shape).copy()
        sizes[0] = 0  # a Reshape leaves such a side as it is
        shape.CopyFrom(numpy_helper.from_array(sizes, shape.name))
    del model.graph.value_info[:]
    part = target.with_suffix(".part")
    part.write_bytes(model.SerializeToString())
    return part.replace(target)
