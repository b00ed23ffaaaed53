"""Small ONNX files with the inputs and outputs of pose networks, whose answers a test can foretell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

Array = npt.NDArray[Any]
Shape = Sequence[int | str]

_ONNX_TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16, np.uint8: TensorProto.UINT8}


def save(
    path: Path,
    nodes: list[Any],
    *,
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, Array],
    dtype: Any = np.float32,
) -> Path:
    """Writes a model whose inputs are of ``dtype`` and whose outputs are of floats (float16 where the inputs are)."""
    out_type = TensorProto.FLOAT16 if dtype is np.float16 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, _ONNX_TYPES[dtype], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, out_type, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def answers_always(
    path: Path,
    answers: dict[str, Array],
    *,
    size_wh: tuple[int | str, int | str],
    batch: int | str = 1,
    channels_last: bool = False,
    dtype: Any = np.float32,
    declare: bool = True,
) -> Path:
    """Takes a picture, and answers every one with the same arrays (without a batch side).

    Args:
        path: where the file goes.
        answers: an array for each output.
        size_wh: of the input.
        batch: of the input; a name leaves it free.
        channels_last: of the input.
        dtype: of the input.
        declare: whether the file says what sides its outputs have.
    """
    width, height = size_wh
    shape: Shape = (batch, height, width, 3) if channels_last else (batch, 3, height, width)
    kind = np.float16 if dtype is np.float16 else np.float32
    nodes = [
        helper.make_node("Cast", ["picture"], ["cast"], to=_ONNX_TYPES[kind]),
        helper.make_node("ReduceMean", ["cast"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        *(helper.make_node("Add", ["nothing", f"{name}_maps"], [name]) for name in answers),
    ]
    constants = {f"{name}_maps": value[None].astype(kind) for name, value in answers.items()}
    constants["zero"] = np.zeros(1, dtype=kind)
    outputs = {
        name: (batch, *(value.shape if declare else [f"{name}{i}" for i in range(value.ndim)]))
        for name, value in answers.items()
    }
    return save(path, nodes, inputs={"picture": shape}, outputs=outputs, constants=constants, dtype=dtype)


def sees_colours(
    path: Path,
    colours_bgr: npt.NDArray[np.float32],
    *,
    size_wh: tuple[int, int] = (96, 128),
    batch: int | str = 1,
    step: int = 4,
    outputs_last: bool = False,
) -> Path:
    """A pose network: heat map k is high where the picture, shown as it is, has the colour k (k, 3), of length 1."""
    width, height = size_wh
    count = len(colours_bgr)
    weights = np.repeat(np.repeat(colours_bgr[:, :, None, None], step, axis=2), step, axis=3) / step**2 / 255
    nodes = [helper.make_node("Conv", ["picture", "weights"], ["maps"], strides=[step, step], name="conv")]
    shape: Shape = (batch, count, height // step, width // step)
    if outputs_last:
        nodes.append(helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]))
        shape = (batch, height // step, width // step, count)
    return save(
        path,
        nodes,
        inputs={"picture": (batch, 3, height, width)},
        outputs={"last" if outputs_last else "maps": shape},
        constants={"weights": weights.astype(np.float32)},
    )


def names_strongest_joint(
    path: Path,
    *,
    classes: int,
    clips: int | str = "clips",
    nested: bool = False,
    averaged: bool = False,
    frames: int = 48,
    dtype: Any = np.float32,
) -> Path:
    """An action network: the logit of class c is 5000 times the mean of the maps of joint c.

    Args:
        path: where the file goes.
        classes: up to 17.
        clips: how many it takes at once; a name leaves it free.
        nested: whether there is one side more, for windows.
        averaged: whether it gives one row for all clips.
        frames: of a clip.
        dtype: of input and output.
    """
    sides: Shape = (clips, 17, frames, 64, 64)
    nodes = [
        helper.make_node("Reshape", ["clips", "flat"], ["five"]),
        helper.make_node("ReduceMean", ["five"], ["means"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["rows"]),
        *([helper.make_node("ReduceMean", ["rows"], ["row"], axes=[0], keepdims=1)] if averaged else []),
    ]
    constants = {
        "flat": np.array([-1, 17, frames, 64, 64], dtype=np.int64),
        "weights": (np.eye(17, classes) * 5000).astype(dtype),
    }
    rows = 1 if averaged else clips
    return save(
        path,
        nodes,
        inputs={"clips": (1, *sides) if nested else sides},
        outputs={"row" if averaged else "rows": (rows, classes)},
        constants=constants,
        dtype=dtype,
    )
