"""The form of a report (CONTRACT 6.3), checked where foreign code has built it."""

from __future__ import annotations

import json
from typing import Any


def checked_report(report: Any) -> dict[str, Any]:
    """A copy of ``report`` with every number a plain ``int``, as receivers demand.

    ``SrcID`` is not looked at: the client adds it. ``AnalyzeEvents`` may be empty.

    Raises:
        ValueError: something is missing or of the wrong form; the message starts with its JSON path.
    """
    if not isinstance(report, dict):
        raise ValueError(f"expected an object, got {type(report).__name__}")
    events = report.get("AnalyzeEvents")
    if not isinstance(events, list):
        raise ValueError("$.AnalyzeEvents: expected an array")
    checked = dict(report, FrameIndex=_whole(report.get("FrameIndex"), "$.FrameIndex"))
    _text(report.get("SceneImageBase64"), "$.SceneImageBase64")
    checked["AnalyzeEvents"] = [_checked_event(e, f"$.AnalyzeEvents[{i}]") for i, e in enumerate(events)]
    return checked


def _checked_event(event: Any, path: str) -> dict[str, Any]:
    if not isinstance(event, dict) or not isinstance(event.get("Box"), dict):
        raise ValueError(f"{path}: expected an object with a Box")
    _text(event.get("ImageBase64"), f"{path}.ImageBase64")
    sides = ("LeftTopY", "RightBtmY", "LeftTopX", "RightBtmX")
    box = {side: _whole(event["Box"].get(side), f"{path}.Box.{side}") for side in sides}
    checked = dict(event, Type=_whole(event.get("Type"), f"{path}.Type"), Box=box)
    try:
        json.dumps(checked.get("Extend"))
    except (TypeError, ValueError) as e:
        raise ValueError(f"{path}.Extend: {e}") from e
    return checked


def _whole(value: Any, path: str) -> int:
    """A JSON integer; 12.0 and numpy's integers are one, too."""
    try:
        whole = int(value)
        if not isinstance(value, bool | str | bytes) and whole == value:
            return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{path}: expected an integer, got {value!r}")


def _text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{path}: expected a string, got {type(value).__name__}")
