"""How much a task may ask for, looked at before anything looks closer: the checks of areas take time themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from streamserver.core.drawings import MAX_POINTS
from streamserver.core.errors import BadRequestError

MAX_EXTEND = 256_000
"""Characters of one ``Extend`` as JSON: each process of the task reads it."""


def check_sizes(content: Mapping[str, Any]) -> None:
    """Refuses a create or update with more than the server wants to check, store and watch for.

    Args:
        content: the parsed body; whatever is not of the right form in it is for others to refuse.

    Raises:
        BadRequestError: the areas of all algorithms have more than ``MAX_POINTS`` corners together, the lines of
            ``Extend`` more than ``MAX_POINTS`` points, or an ``Extend`` is longer than ``MAX_EXTEND``.
    """
    algorithms = [entry for entry in _list(content.get("Algorithm")) if isinstance(entry, dict)]
    corners, points = sum(_corners(entry) for entry in algorithms), sum(_points(entry) for entry in algorithms)
    if corners > MAX_POINTS:
        raise BadRequestError(
            f"the areas have {corners} corners together", path="$.Algorithm", cure=f"at most {MAX_POINTS}"
        )
    if points > MAX_POINTS:
        raise BadRequestError(
            f"the lines of Extend have {points} points together", path="$.Algorithm", cure=f"at most {MAX_POINTS}"
        )
    for path, extend in _extends(content):
        size = len(json.dumps(extend, ensure_ascii=False))
        if size > MAX_EXTEND:
            raise BadRequestError(
                f"{size} characters of JSON are too long", path=path, cure=f"at most {MAX_EXTEND}; keep files elsewhere"
            )


def _extends(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "$.Extend", content.get("Extend")
    for index, entry in enumerate(_list(content.get("Algorithm"))):
        if isinstance(entry, dict):
            yield f"$.Algorithm[{index}].Extend", entry.get("Extend")


def _corners(algorithm: Mapping[str, Any]) -> int:
    infos = [info for info in _list(algorithm.get("DetectInfos")) if isinstance(info, dict)]
    areas = [info.get("HotArea") for info in infos] + _of_extend(algorithm, "ExcludeAreas")
    return sum(_count(area) for area in areas)


def _points(algorithm: Mapping[str, Any]) -> int:
    lines = [line for line in _of_extend(algorithm, "Lines") if isinstance(line, dict)]
    return sum(_count(line.get("Points")) for line in lines)


def _count(points: Any) -> int:
    """How many; none of a list that is too long by itself, which is refused where it stands before it is checked."""
    count = len(_list(points))
    return count if count <= MAX_POINTS else 0


def _of_extend(algorithm: Mapping[str, Any], key: str) -> list[Any]:
    extend = algorithm.get("Extend")
    return _list(extend.get(key)) if isinstance(extend, dict) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
