"""The motion gate of a task: where its channels look for motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.core.errors import BadRequestError
from streamserver.core.rule_options import rule_options
from streamserver.core.settings import Settings

_PATH = "$.Algorithm[0].Extend.Gate"
_WITHOUT_PACKETS = {"IMG_DIR": "a folder of pictures", "BASE64": "pictures over HTTP"}


def gate_of(request: Mapping[str, Any], kind: str, settings: Settings, *, hold_s: float) -> dict[str, Any]:
    """The key ``gate`` of every channel of the task: the areas and lines of all its algorithms.

    Where one of them has neither, motion counts in the whole picture.

    Args:
        request: as accepted.
        kind: the ``source_type``.
        settings: which engine and which decoder run.
        hold_s: how long everything is decoded after the last motion.

    Raises:
        BadRequestError: there cannot be a gate.
    """
    if settings.engine_binary is not None:
        raise BadRequestError("a sophon-stream program has no motion gate", path=_PATH, cure="leave it out")
    if settings.decoder == "opencv":
        cure = "set the setting decoder to av, or leave it out"
        raise BadRequestError("the decoder opencv cannot leave out frames", path=_PATH, cure=cure)
    if kind in _WITHOUT_PACKETS:
        problem = f"got 'motion', but {_WITHOUT_PACKETS[kind]} has no key frames"
        raise BadRequestError(problem, path=_PATH, cure="leave it out")
    shapes = [_shapes_of(algorithm) for algorithm in request["Algorithm"]]
    areas = [shape for drawn in shapes for shape in drawn] if all(shapes) else []
    return {"gate": {"hold": hold_s, "areas": areas}}


def _shapes_of(algorithm: Mapping[str, Any]) -> list[list[list[int]]]:
    """The areas and lines that are drawn for an algorithm, each as its points."""
    shapes = []
    for info in algorithm["DetectInfos"]:
        line = [_point(info["TripWire"][end]) for end in ("LineStart", "LineEnd")]
        shapes += [line] if line[0] != line[1] else []
        shapes += [[_point(corner) for corner in info["HotArea"]]] if info["HotArea"] else []
    try:
        more = rule_options(algorithm).lines
    except BadRequestError:  # an algorithm of somebody's own may mean something else by the name
        return []
    return shapes + [[list(point) for point in line.path_xy] for line in more]


def _point(wire: Mapping[str, int]) -> list[int]:
    return [wire["X"], wire["Y"]]
