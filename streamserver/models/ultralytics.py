"""What Ultralytics' exporter writes into an ONNX file about the network (``metadata_props``)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportNotes:
    """The notes that say how to read a file; what is absent or unreadable has its default.

    Attributes:
        task: ``detect``, ``pose``, ``classify``, ``segment`` or ``obb``; empty when the file does not say.
        names: class names in class order; empty when the file does not say.
        keypoints: how many key points, and 2 (x, y) or 3 (x, y, score) numbers for each.
        size_wh: what the network was exported for, for files whose input is free.
        end_to_end: overlapping boxes have been removed inside the network.
        title: the exporter's description.
    """

    task: str = ""
    names: tuple[str, ...] = ()
    keypoints: tuple[int, int] | None = None
    size_wh: tuple[int, int] | None = None
    end_to_end: bool = False
    title: str = ""

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ExportNotes:
        """Reads what is there; never raises."""
        height_width = _pair(_value(metadata.get("imgsz")))
        arguments = _value(metadata.get("args"))
        with_nms = isinstance(arguments, Mapping) and arguments.get("nms") is True
        return cls(
            task=metadata.get("task", "").strip().lower(),
            names=_names(_value(metadata.get("names"))),
            keypoints=_pair(_value(metadata.get("kpt_shape"))),
            size_wh=height_width and (height_width[1], height_width[0]),
            end_to_end=with_nms or _value(metadata.get("end2end")) is True,
            title=metadata.get("description", ""),
        )


def _value(text: str | None) -> Any:
    try:
        return ast.literal_eval((text or "").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        value = [value.get(number) for number in range(len(value))]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        value = (value, value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    good = all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in value)
    return (value[0], value[1]) if good else None
