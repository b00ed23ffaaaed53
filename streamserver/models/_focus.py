"""Folds the Focus layer of YOLOX and early YOLOv5 into the convolution behind it; run as a program by ``tuning``.

Focus cuts a picture into its four sets of every other pixel and stacks them as channels (Ultralytics YOLOv5 before
version 6, Megvii YOLOX). A convolution over the stack, of kernel k, stride s and padding p, is one over the picture of
kernel 2k, stride 2s and padding 2p with the same weights in other places; without the copies it is faster.

``python -m streamserver.models._focus SOURCE TARGET`` writes TARGET, empty when there is nothing to fold.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from streamserver.runtime.session import open_session

_FREE_SIDE = 64
"""Stands for sizes that the file leaves free when the two networks are compared."""

_TOLERANCE = 1e-4
"""Largest difference of two outputs, as a share of the largest number among them: what rounding makes."""

_PICTURE_AXES = (2, 3)


def fold(model: onnx.ModelProto) -> bool:
    """Folds the first Focus layer of ``model``, in place; false if there is none."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = _constants(graph)
    for conv in graph.node:
        stacked = makers.get(conv.input[0]) if conv.op_type == "Conv" else None
        if stacked is None or stacked.op_type != "Concat" or _attribute(stacked, "axis") != 1:
            continue
        parts = [_origin(name, makers, constants) for name in stacked.input]
        sources = {part[0] for part in parts if part is not None}
        weights = constants.get(conv.input[1])
        if len(parts) == 4 and None not in parts and len(sources) == 1 and _is_plain(conv, weights):
            assert weights is not None
            _replace(graph, conv, [part[1:] for part in parts if part is not None], weights)
            conv.input[0] = sources.pop()
            _drop_unused(graph)
            return True
    return False


def unturn(model: onnx.ModelProto) -> None:
    """Takes away a Transpose that does nothing but exchange rows and columns of the only output, at the very end.

    Readers of detectors take the rows either way (``_yolo_layout``), and look at one column first.
    """
    graph = model.graph
    if len(graph.output) != 1:
        return
    [output] = graph.output
    last = next((node for node in graph.node if output.name in node.output), None)
    if last is None or last.op_type != "Transpose" or list(_attribute(last, "perm", [])) != [0, 2, 1]:
        return
    if sum(last.input[0] in node.input for node in graph.node) != 1:
        return
    maker = next((node for node in graph.node if last.input[0] in node.output), None)
    if maker is None:
        return
    maker.output[list(maker.output).index(last.input[0])] = output.name
    graph.node.remove(last)
    sides = output.type.tensor_type.shape.dim
    if len(sides) == 3:
        rows, columns = onnx.TensorShapeProto.Dimension(), onnx.TensorShapeProto.Dimension()
        rows.CopyFrom(sides[1])
        columns.CopyFrom(sides[2])
        sides[1].CopyFrom(columns)
        sides[2].CopyFrom(rows)


def _origin(
    name: str, makers: dict[str, onnx.NodeProto], constants: dict[str, npt.NDArray[Any]]
) -> tuple[str, int, int] | None:
    """The tensor of which ``name`` is every other row and column, and the first of each; ``None`` for anything else."""
    first: dict[int, int] = {}
    while (node := makers.get(name)) is not None and node.op_type == "Slice":
        cuts = _cuts(node, constants)
        if cuts is None or set(cuts) & set(first):
            return None
        first |= cuts
        name = node.input[0]
    return (name, first[2], first[3]) if sorted(first) == [2, 3] else None


def _cuts(node: onnx.NodeProto, constants: dict[str, npt.NDArray[Any]]) -> dict[int, int] | None:
    """By axis, where a Slice that takes every other value to the end begins; ``None`` for any other Slice."""
    if len(node.input) < 5 or any(name not in constants for name in node.input[1:5]):
        return None
    starts, ends, axes, steps = ([int(value) for value in constants[name].ravel()] for name in node.input[1:5])
    plain = all(
        start in (0, 1) and end >= 2**31 - 1 and axis in _PICTURE_AXES and step == 2
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    )
    return dict(zip(axes, starts, strict=True)) if plain else None


def _is_plain(conv: onnx.NodeProto, weights: npt.NDArray[Any] | None) -> bool:
    """A convolution over all channels, without dilation or automatic padding, with constant float weights."""
    return (
        weights is not None
        and weights.dtype == np.float32
        and weights.ndim == 4
        and weights.shape[1] % 4 == 0
        and _attribute(conv, "group", 1) == 1
        and set(_attribute(conv, "dilations", [1])) == {1}
        and _attribute(conv, "auto_pad", b"NOTSET") == b"NOTSET"
    )


def _replace(
    graph: onnx.GraphProto, conv: onnx.NodeProto, firsts: list[tuple[int, ...]], weights: npt.NDArray[Any]
) -> None:
    """Gives ``conv`` the weights over the picture itself; other users of the old ones keep them."""
    count, stacked, height, width = weights.shape
    channels = stacked // 4
    folded = np.zeros((count, channels, 2 * height, 2 * width), dtype=weights.dtype)
    for part, (row, column) in enumerate(firsts):
        folded[:, :, row::2, column::2] += weights[:, part * channels : (part + 1) * channels]
    name = f"{conv.input[1]}_folded"
    graph.initializer.append(numpy_helper.from_array(folded, name))
    conv.input[1] = name
    strides, pads = _attribute(conv, "strides", [1, 1]), _attribute(conv, "pads", [0, 0, 0, 0])
    kept = [one for one in conv.attribute if one.name not in ("kernel_shape", "strides", "pads")]
    del conv.attribute[:]
    conv.attribute.extend(kept)
    for key, values in (("kernel_shape", (height, width)), ("strides", strides), ("pads", pads)):
        conv.attribute.append(onnx.helper.make_attribute(key, [2 * int(value) for value in values]))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Removes nodes and initialisers that nobody uses any more."""
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        dead = [node for node in graph.node if not used & set(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    unused = [one for one in graph.initializer if one.name not in used]
    names = {one.name for one in unused}
    for initializer in unused:
        graph.initializer.remove(initializer)
    for listed in [one for one in graph.input if one.name in names]:  # old files list initialisers as inputs, too
        graph.input.remove(listed)


def _constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def agree(one: Path, other: Path) -> bool:
    """Whether two networks say the same of a picture of random numbers, with rows and columns exchanged or not."""
    random = np.random.default_rng(1)
    sessions = [open_session(path, device="cpu", quiet=True) for path in (one, other)]
    shapes = {
        spec.name: [side or _free_side(axis) for axis, side in enumerate(spec.shape)] for spec in sessions[0].inputs
    }
    inputs = {name: random.uniform(0, 255, shape).astype(np.float32) for name, shape in shapes.items()}
    outputs = zip(*(session.run(inputs) for session in sessions), strict=True)
    pairs = ((a, b if a.shape == b.shape else b.swapaxes(1, -1)) for a, b in outputs)
    return all(a.shape == b.shape and np.abs(a - b).max(initial=0) <= _TOLERANCE * np.abs(a).max() for a, b in pairs)


def _free_side(axis: int) -> int:
    return 1 if axis == 0 else _FREE_SIDE


def main(source: Path, target: Path) -> None:
    """Writes ``target``: the folded network, or an empty file where there is nothing to fold or the two disagree."""
    model = onnx.load(source)
    if fold(model):
        unturn(model)
        onnx.save(model, target)
        if agree(source, target):
            return
    target.write_bytes(b"")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
