"""What an ONNX file is good for: its inputs and outputs, and which elements can run it, with settings to copy."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import streamserver.models
from streamserver.core.model_address import ModelAddress, ModelPlace
from streamserver.models.normalisation import Normalisation
from streamserver.models.registry import ModelEntry
from streamserver.models.store import FoundModel, ModelStore
from streamserver.models.suggestion import Suggestion
from streamserver.models.ultralytics import ExportNotes
from streamserver.runtime.session import Session, TensorSpec, open_session

LAYOUTS: Mapping[str, str] = {
    "fastpose": "heat maps of one person, [1, points, h, w]",
    "lprnet": "[1, 68, 18]: symbols of a Chinese number plate",
    "openpose": "heat maps and part affinity fields: 57 (COCO_18) or 78 (BODY_25) maps, in one output or two",
    "posec3d": "clips of heat maps of joints, [n, 17, frames, h, w], to scores of actions",
    "ppocr_det": "one map of text and background, [1, 1, H, W]",
    "ppocr_rec": "[1, columns, characters], characters named in the file or in a list of its own",
    "resnet": "one row of numbers, [1, classes] or an embedding",
    "retinaface": "boxes, scores and five points of faces: [1, N, 4], [1, N, 2], [1, N, 10]; or YuNet's twelve outputs",
    "yolov5": "[1, 3, h, w, 5+classes] for each of three strides, or [1, N, 5+classes] with three boxes a cell",
    "yolov7": "as yolov5, with other anchors, or a list of objects [n, 7]",
    "yolov8": "[1, 4+classes, N] or transposed, with key points, mask coefficients or an angle; end to end [1, n, 6]; "
    "raw maps",
    "yolox": "[1, N, 5+classes] with one box a cell",
}
"""By element, what its networks give; shown for a file that no element can run."""

_SINGLE = ("resnet",)
"""Elements that sophon-stream has no group of."""

_PICTURE_KEYS = ("bgr2rgb", "mean", "std")
_LIKELY = 0.5
_METADATA_SHOWN = 100
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is known of one file.

    Attributes:
        name: as it was asked for.
        path: the file, or the address of the server that has the model.
        entry: what configs/models.yaml says of it; ``None`` for one it does not know.
        inputs: what the network takes.
        outputs: what it gives.
        metadata: what the exporter wrote into the file.
        suggestions: how it can be used, the likeliest first.
    """

    name: str
    path: ModelPlace
    entry: ModelEntry | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    suggestions: tuple[Suggestion, ...]

    def element_file(self, suggestion: Suggestion) -> dict[str, Any]:
        """The element file that runs it so, in the form of sophon-stream's."""
        element = suggestion.element
        known = self.entry is not None and (self.entry.remote == self.path or isinstance(self.path, Path))
        configure = {"model_path": self.entry.name if self.entry and known else str(self.path), **suggestion.configure}
        return {
            "configure": configure,
            "shared_object": f"../../build/lib/lib{element}.so",
            "name": element if element in _SINGLE else f"{element}_group",
            "side": "sophgo",
            "thread_number": 1,
        }

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "path": str(self.path),
            "known_as": self.entry.name if self.entry else None,
            "family": self.entry.family if self.entry else None,
            "inputs": [_spec_to_dict(spec) for spec in self.inputs],
            "outputs": [_spec_to_dict(spec) for spec in self.outputs],
            "metadata": dict(self.metadata),
            "suggestions": [
                {
                    "element": suggestion.element,
                    "layout": suggestion.layout,
                    "certainty": suggestion.certainty,
                    "notes": list(suggestion.notes),
                    "element_file": self.element_file(suggestion),
                }
                for suggestion in self.suggestions
            ],
        }

    def to_text(self) -> str:
        """For people."""
        rows = [("known as", _known(self.entry))] if self.entry else []
        rows += [("input", _spec_in_words(spec)) for spec in self.inputs]
        rows += [("output", _spec_in_words(spec)) for spec in self.outputs]
        rows += [("metadata", f"{key}: {_shortened(key, value)}") for key, value in self.metadata.items()]
        lines = [str(self.path), *(f"  {head:<9} {text}" for head, text in rows)]
        for suggestion in self.suggestions:
            head = "suits" if suggestion.certainty > _LIKELY else "may suit"
            lines.append(f"  {head:<9} {suggestion.element}: {suggestion.layout}")
            lines += [f"            - {note}" for note in suggestion.notes]
        if self.suggestions:
            best = self.element_file(self.suggestions[0])
            group = best["name"].endswith("_group")
            ids = ' (its entry in the graph needs "inner_elements_id", e.g. [10001, 10002, 10003])' if group else ""
            return "\n".join(
                [
                    *lines,
                    f"  element file for {self.suggestions[0].element}{ids}:",
                    json.dumps(best, indent=4, ensure_ascii=False),
                ]
            )
        lines.append("  suits     no element; these layouts are known:")
        return "\n".join([*lines, *(f"            {element:<10} {layout}" for element, layout in LAYOUTS.items())])


def families() -> Iterator[ModuleType]:
    """The modules of ``streamserver.models`` that can tell whether a file is theirs."""
    for module in pkgutil.iter_modules(streamserver.models.__path__):
        if not module.name.startswith("_"):
            found = importlib.import_module(f"{streamserver.models.__name__}.{module.name}")
            if hasattr(found, "suggest"):
                yield found


def inspect(store: ModelStore, name: str) -> Report:
    """Opens a file and asks every family about it.

    Args:
        store: knows the weights of configs/models.yaml, and fetches them.
        name: a path, a name as graphs use it, or the address of a model on a server.

    Raises:
        ModelNotFoundError: there is no such file or model.
        ModelError: it cannot be opened.
        DeviceError: the server does not answer.
    """
    found = store.resolve(name)
    session = open_session(found.path, device="cpu", quiet=True)
    asked = {module.__name__.rpartition(".")[2]: module for module in families()}
    own = asked[found.entry.family].suggest(session) if found.entry and found.entry.family in asked else None
    if found.entry is not None and own is not None:
        found_out = [_registered(own, found.entry)]
    else:
        found_out = [suggestion for module in asked.values() if (suggestion := module.suggest(session)) is not None]
    suggestions = [_with_names(suggestion, session, found) for suggestion in found_out]
    return Report(
        name=name,
        path=found.path if isinstance(found.path, ModelAddress) else found.path.resolve(),
        entry=found.entry,
        inputs=session.inputs,
        outputs=session.outputs,
        metadata=session.metadata,
        suggestions=tuple(sorted(suggestions, key=lambda suggestion: -suggestion.certainty)),
    )


def _registered(suggestion: Suggestion, entry: ModelEntry) -> Suggestion:
    """What configs/models.yaml says of the file wins over what the keys of a graph say, and over guesses."""
    hidden = _PICTURE_KEYS if entry.preprocess else ()
    configure = {key: value for key, value in suggestion.configure.items() if key not in hidden}
    settled = [f"configs/models.yaml settles {', '.join(entry.options)}"] if entry.options else []
    return dataclasses.replace(suggestion, configure=configure, notes=tuple(settled), certainty=1.0)


def _with_names(suggestion: Suggestion, session: Session, found: FoundModel) -> Suggestion:
    names = found.labels or ExportNotes.from_metadata(session.metadata).names
    if not names:
        return suggestion
    rest = ", …" if len(names) > _NAMES_SHOWN else ""
    classes = f"{len(names)} class name{'s' if len(names) > 1 else ''}: {', '.join(names[:_NAMES_SHOWN])}{rest}"
    return dataclasses.replace(suggestion, notes=(*suggestion.notes, classes))


def _known(entry: ModelEntry) -> str:
    words = f"{entry.name}: {entry.task} (family {entry.family}, {entry.licence})"
    return f"{words}; sees {_seen(entry.preprocess)}" if entry.preprocess else words


def _seen(normalisation: Normalisation) -> str:
    """What the network gets to see, in words."""
    order = "red" if normalisation.rgb else "blue"
    if normalisation == Normalisation(rgb=normalisation.rgb):
        return f"pixels as they are, {order} first"
    scale, offset = (
        ", ".join(f"{value:.6g}" for value in dict.fromkeys(values))
        for values in (normalisation.scale, normalisation.offset)
    )
    return f"pixels * {scale} - {offset}, {order} first"


def _spec_to_dict(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "type": _type(spec)}


def _spec_in_words(spec: TensorSpec) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in spec.shape)
    return f"{spec.name} [{sides}] {_type(spec)}"


def _type(spec: TensorSpec) -> str:
    inner = spec.dtype.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def _shortened(key: str, value: str) -> str:
    names = ExportNotes.from_metadata({key: value}).names if key == "names" else ()
    text = ", ".join(names) if names else " ".join(value.split())
    return text if len(text) <= _METADATA_SHOWN else f"{text[:_METADATA_SHOWN]}… ({len(text)} characters)"
