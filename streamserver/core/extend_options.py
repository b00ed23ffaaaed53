"""The keys of ``Extend`` that every task understands, whatever its algorithms are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from streamserver.core.rule_options import MAX_CLASSES, RULE_KEYS
from streamserver.core.strict_json import describe
from streamserver.core.wire_errors import fault
from streamserver.core.wire_types import Whole, Wire, without_default

MAX_LOOPS = 2_147_483_647
MAX_FPS = 1000
_DETECTORS = ("auto", "model", "motion")
_TRANSPORTS = ("tcp", "udp", "auto")
GATES = ("off", "motion")
DEFAULT_GATE_HOLD_S, LEAST_GATE_HOLD_S, MAX_GATE_HOLD_S = 10.0, 1.0, 3600.0
"""How long everything is decoded after the last motion; by default until trackers have forgotten who was there."""
KEYS_OF_SAMPLES = (*RULE_KEYS, "PlateReader", "Plates")
"""Keys of ``Extend`` that the algorithms that come with the server check themselves."""
TASK_WIDE_KEYS = ("Loop", "Fps", "Detector", "Transport", "Gate", "GateHold")
"""Keys of ``Extend`` that hold for the whole task; they may stand in an ``Extend`` beside ``Algorithm`` too."""


def _frame_rate(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (value == -1 or 0 < value <= MAX_FPS):
        raise fault("expected frames a second above 0 and at most 1000, or -1 for as fast as it goes")
    return value


def _classes(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise fault("expected a list of class numbers or names", cure='e.g. [0, 2] or ["person", "car"]')
    for entry in value:
        is_number = isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0
        if not is_number and not (isinstance(entry, str) and entry):
            raise fault(
                f"{describe(entry)} is no class", cure='use numbers from 0 or names, e.g. [0, "car"]', show=False
            )
    return value


def _detector(value: Any) -> Any:
    if value not in _DETECTORS:
        raise fault("unknown detector", cure="use auto, model or motion")
    return value


def _transport(value: Any) -> Any:
    if value not in _TRANSPORTS:
        raise fault("unknown transport", cure="use tcp, udp or auto")
    return value


def _gate(value: Any) -> Any:
    if value not in GATES:
        raise fault("unknown gate", cure="use motion or off")
    return value


def _fps_schema(node: dict[str, Any]) -> None:
    without_default(node)
    node["anyOf"] = [{"const": -1}, {"exclusiveMinimum": 0, "maximum": MAX_FPS}]


def _detector_schema(node: dict[str, Any]) -> None:
    without_default(node)
    node["enum"] = list(_DETECTORS)


class ExtendOptions(Wire):
    """The keys of ``Extend`` that every task understands, when ``Extend`` is an object; samples may know more."""

    loop: Whole = Field(
        default=1, alias="Loop", ge=0, le=MAX_LOOPS, description="how often a file is played, 0 for ever", examples=[1]
    )
    fps: Annotated[float, BeforeValidator(_frame_rate)] = Field(
        default=0.0,
        alias="Fps",
        description="-1 plays a file as fast as it goes; others change nothing where the source has a rate of its own",
        json_schema_extra=_fps_schema,
    )
    detector: Annotated[str, BeforeValidator(_detector)] = Field(
        default="auto",
        alias="Detector",
        description="auto, model or motion; the server's setting unless given",
        json_schema_extra=_detector_schema,
    )
    transport: Annotated[str, BeforeValidator(_transport)] = Field(
        default="auto",
        alias="Transport",
        description="how RTSP and GB28181 bring the pictures: tcp, udp, or auto for TCP first",
        json_schema_extra={"enum": list(_TRANSPORTS)},
    )
    gate: Annotated[str, BeforeValidator(_gate)] = Field(
        default="off",
        alias="Gate",
        description="motion: while nothing moves in the areas only key frames are decoded, and everything from the key "
        "frame before the first motion; off: everything always",
        json_schema_extra={"enum": list(GATES)},
    )
    gate_hold_s: Annotated[float, Strict()] = Field(
        default=DEFAULT_GATE_HOLD_S,
        alias="GateHold",
        ge=LEAST_GATE_HOLD_S,
        le=MAX_GATE_HOLD_S,
        description="with Gate: seconds for which everything is decoded after the last motion",
        examples=[10],
    )
    classes: Annotated[list[int | str], BeforeValidator(_classes)] = Field(
        default=[], alias="Classes", max_length=MAX_CLASSES, description="which classes count, by number or name"
    )
