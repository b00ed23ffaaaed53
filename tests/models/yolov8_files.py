"""ONNX files that give what a test wants, whatever they see, and what Ultralytics writes into its exports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

COCO_METADATA = {
    "description": "Ultralytics YOLOv8n model",
    "author": "Ultralytics",
    "stride": "32",
    "batch": "1",
    "imgsz": "[640, 640]",
}


def constant_network(
    path: Path,
    *outputs: npt.NDArray[Any],
    shape: Sequence[int | str] = (1, 3, 64, 64),
    kind: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file with one picture as input that always gives ``outputs``."""
    constants = [numpy_helper.from_array(value, f"c{i}") for i, value in enumerate(outputs)]
    nodes = [helper.make_node("Identity", [f"c{i}"], [f"output{i}"]) for i in range(len(outputs))]
    infos = [
        helper.make_tensor_value_info(f"output{i}", constants[i].data_type, list(value.shape))
        for i, value in enumerate(outputs)
    ]
    return save(path, nodes, infos, constants, shape=shape, kind=kind, metadata=metadata)


def colour_network(path: Path, *, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """A classifier of three classes whose scores are the mean of each channel as the network sees it."""
    last = shape[-1] == 3
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("Cast", ["means"], ["output0"], to=_floating(kind)),
    ]
    infos = [helper.make_tensor_value_info("output0", _floating(kind), [shape[0], 3])]
    return save(path, nodes, infos, [], shape=shape, kind=kind, metadata=None)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
    *,
    shape: Sequence[int | str],
    kind: int,
    metadata: Mapping[str, str] | None,
) -> Path:
    """Writes a file with the input ``images``."""
    images = helper.make_tensor_value_info("images", kind, list(shape))
    graph = helper.make_graph(nodes, "test", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    path.write_bytes(model.SerializeToString())
    return path


def notes(task: str, names: Sequence[str] = (), **more: str) -> dict[str, str]:
    """The metadata of an export."""
    named = {"names": str(dict(enumerate(names)))} if names else {}
    return {**COCO_METADATA, "task": task, **named, **more}


def cells(size_wh: tuple[int, int], strides: Sequence[int] = (8, 16, 32)) -> int:
    """How many cells a network of this input has."""
    return sum((size_wh[0] // stride) * (size_wh[1] // stride) for stride in strides)


def random_rows(
    rng: np.random.Generator, count: int, size_wh: tuple[int, int], classes: int
) -> npt.NDArray[np.float32]:
    """(count, 4 + classes): decoded boxes of all sizes, and scores of which some are good."""
    centres = rng.uniform(-0.1, 1.1, (count, 2)) * size_wh
    sides = rng.uniform(0.02, 0.8, (count, 2)) * size_wh
    scores = rng.uniform(0, 1, (count, classes)) ** 2
    return np.hstack([centres, sides, scores]).astype(np.float32)


def _floating(kind: int) -> int:
    return kind if kind in (TensorProto.FLOAT16, TensorProto.DOUBLE) else TensorProto.FLOAT
