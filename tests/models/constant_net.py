"""ONNX files that look at a picture and always answer the same: for tests of what comes before and after a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET, _IR_VERSION = 13, 8


def constant_net(
    path: Path,
    outputs: Mapping[str, npt.NDArray[Any]],
    *,
    shape: Sequence[int | str] = (1, 3, 64, 64),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Writes a file with one input of ``shape`` and type ``kind`` that gives ``outputs``, of their own types."""
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["numbers"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "none"], ["zero"]),
    ]
    constants = [numpy_helper.from_array(np.zeros((), dtype=np.float32), "none")]
    infos = []
    for name, value in outputs.items():
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Cast", ["zero"], [f"{name}_zero"], to=element))
        nodes.append(helper.make_node("Add", [f"{name}_value", f"{name}_zero"], [name]))
        infos.append(helper.make_tensor_value_info(name, element, list(value.shape)))
    images = helper.make_tensor_value_info("images", kind, list(shape))
    graph = helper.make_graph(nodes, path.stem, [images], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
