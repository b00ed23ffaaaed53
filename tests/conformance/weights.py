"""Which weights a graph's networks run on: real ones where there are any, else files made by ``tests.onnx_files``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamserver.core.errors import ModelNotFoundError
from streamserver.core.settings import Settings
from streamserver.models.store import ModelStore
from streamserver.runtime.session import open_session
from tests import onnx_files

CAR, PERSON = 2, 0

Maker = Callable[[Path], Path]

_MAKERS: Sequence[tuple[str, str, str, Maker]] = (
    ("yolov5", "licen", "640, 1 class", lambda p: onnx_files.yolov5(p, classes=1)),
    ("yolov5", "", "640, 80 classes", lambda p: onnx_files.yolov5(p, found=(CAR, PERSON))),
    ("yolov7", "", "640, 80 classes", lambda p: onnx_files.yolov5(p, found=(PERSON,), seed=7)),
    ("yolov8", "obb", "1024, 15 classes", lambda p: onnx_files.yolov8(p, side=1024, classes=15, extra=1)),
    ("yolov8", "", "640, 80 classes", lambda p: onnx_files.yolov8(p, found=(CAR, PERSON))),
    ("retinaface", "", "640", lambda p: onnx_files.retinaface(p)),
    ("resnet", "arcface", "128, grey, 512 numbers", lambda p: _arcface(p)),
    ("resnet", "gender", "224, 2 classes", lambda p: onnx_files.classifier(p, size_wh=(224, 224), classes=2)),
    ("resnet", "color", "224, 10 classes", lambda p: onnx_files.classifier(p, size_wh=(224, 224), classes=10)),
    ("resnet", "", "224, 1000 classes", lambda p: onnx_files.classifier(p, size_wh=(224, 224), classes=1000)),
    ("openpose", "", "656x368, 57 maps", lambda p: onnx_files.openpose(p)),
    ("fastpose", "halpe26", "192x256, 26 maps", lambda p: _maps(p, (192, 256), 26, 4)),
    ("fastpose", "", "192x256, 17 maps", lambda p: _maps(p, (192, 256), 17, 4)),
    ("posec3d", "", "10x17x48x64x64, 60 classes", lambda p: _posec3d(p)),
)
"""Element, part of the model's name, what is made, and how; the first row that fits."""


@dataclass(frozen=True)
class Weights:
    """What one network runs on.

    Attributes:
        path: the file.
        made: it was made here, with random numbers.
        label: for the table.
    """

    path: Path
    made: bool
    label: str


def weights_for(
    element: str, model_path: str, *, settings: Settings, folder: Path, prefer_made: bool = False
) -> Weights:
    """Real weights for ``model_path`` as the engine finds them, else a file made in ``folder``.

    With ``prefer_made`` it is the other way round, so that the element's own family runs and not a stand-in.
    """
    made = _made(element, Path(model_path).stem, folder) if prefer_made else None
    if made is not None:
        return made
    try:
        path = _store(settings).resolve(model_path).path
    except ModelNotFoundError:
        made = _made(element, Path(model_path).stem, folder)
        if made is None:
            raise
        return made
    return Weights(path, False, path.name)


@functools.cache
def _store(settings: Settings) -> ModelStore:
    return ModelStore(settings)


def _made(element: str, name: str, folder: Path) -> Weights | None:
    for kind, part, what, make in _MAKERS:
        if kind == element and part in name.lower():
            target = folder / f"{element}_{name}.onnx"
            return Weights(target if target.exists() else make(target), True, f"made: {element} {what}")
    return None


def characters_of(settings: Settings) -> list[str]:
    """The alphabet of the text reader that stands in for PP-OCR, as written into its file."""
    path = _store(settings).resolve("ch_PP-OCRv3_rec_fp32_1b_320.bmodel").path
    import onnx

    properties = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    return str(properties["character"]).splitlines()


@functools.cache
def output_width(path: Path) -> int:
    """How many numbers a feature extractor gives."""
    width = open_session(path, device="cpu").outputs[0].shape[-1]
    assert width is not None
    return width


def substituted(configure: Mapping[str, Any], weights: Weights) -> Mapping[str, Any]:
    """The element's configuration with made weights named in it; real ones are found by the graph's own name."""
    return {**configure, "model_path": str(weights.path)} if weights.made else configure


def _arcface(path: Path) -> Path:
    return onnx_files.classifier(path, size_wh=(128, 128), classes=512, colours=1)


def _maps(path: Path, size_wh: tuple[int, int], channels: int, stride: int) -> Path:
    return onnx_files.heatmaps(path, size_wh=size_wh, channels=channels, stride=stride)


def _posec3d(path: Path) -> Path:
    return onnx_files.clip_classifier(path, shape=(1, 10, 17, 48, 64, 64), classes=60)
