"""Reads single values of the filter element's ``configure``, each error with its JSON path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streamserver.core.slips import nearest
from streamserver.geometry.lines import PointXy

_MOST = 2.0**63


class SpecError(ValueError):
    """A key of the configuration cannot be used.

    Attributes:
        key: its JSON path below ``configure``.
        problem: what is wrong, with the value.
        cure: what to write instead; may be empty.
    """

    def __init__(self, key: str, problem: str, *, cure: str = "") -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem
        self.cure = cure


def read_choice(entry: Mapping[str, Any], key: str, allowed: tuple[str, ...], path: str) -> str:
    """One of ``allowed``, the first where the key is absent."""
    value = entry.get(key, allowed[0])
    if value not in allowed:
        raise SpecError(f"{path}.{key}", f"expected one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def read_object(value: Any, path: str) -> Mapping[str, Any]:
    """``value``, which has to be an object."""
    if not isinstance(value, Mapping):
        raise SpecError(path, f"expected an object, got {value!r}")
    return value


def read_ours(value: Any, path: str, known: Iterable[str]) -> Mapping[str, Any]:
    """An object that only we know, so that a key that is not ``known`` is a slip."""
    entry = read_object(value, path)
    for key in entry.keys() - set(known):
        near = nearest(str(key), known)
        cure = f"did you mean '{near}'?" if near else f"known are {', '.join(sorted(known))}"
        raise SpecError(f"{path}.{key}", "is no key here", cure=cure)
    return entry


def read_list(entry: Mapping[str, Any], key: str, path: str) -> list[Any]:
    """A list that has to be there; ``path`` is the entry's or the list's own."""
    value = entry.get(key)
    if not isinstance(value, list):
        problem = "is missing" if key not in entry else f"expected a list, got {value!r}"
        raise SpecError(path if path.endswith(key) else f"{path}.{key}", problem)
    return value


def read_some(entry: Mapping[str, Any], key: str, path: str) -> list[Any]:
    """A list as ``read_list`` reads it that has a member at least: without any, nothing would ever be reported."""
    values = read_list(entry, key, path)
    if not values:
        raise SpecError(path if path.endswith(key) else f"{path}.{key}", "expected one at least, got an empty list")
    return values


def read_whole(
    entry: Mapping[str, Any], key: str, path: str, *, default: int | None = None, least: int | None = None
) -> int:
    """A whole number of at least ``least``; ``default`` where it is absent, which is an error without one."""
    if key not in entry:
        if default is None:
            raise SpecError(f"{path}.{key}", "is missing")
        return default
    number = whole_number(entry[key], f"{path}.{key}")
    if least is not None and number < least:
        raise SpecError(f"{path}.{key}", f"expected a number of at least {least}, got {number}")
    return number


def read_real(entry: Mapping[str, Any], key: str, path: str, *, default: float) -> float:
    """A number of at least 0; ``default`` where it is absent."""
    number = real_number(entry.get(key, default), f"{path}.{key}")
    if number < 0:
        raise SpecError(f"{path}.{key}", f"expected a number of at least 0, got {number:g}")
    return number


def read_direction(value: Any, path: str) -> PointXy:
    """An arrow; (0, 0) for ``None``."""
    if value is None:
        return 0.0, 0.0
    if not isinstance(value, list) or len(value) != 2:
        raise SpecError(path, f"expected two numbers [dx, dy], got {value!r}")
    return real_number(value[0], f"{path}[0]"), real_number(value[1], f"{path}[1]")


def whole_number(value: Any, path: str) -> int:
    """``value``, which has to be a whole number."""
    number = real_number(value, path)
    if number != int(number):
        raise SpecError(path, f"expected a whole number, got {value!r}")
    return int(number)


def real_number(value: Any, path: str) -> float:
    """``value``, which has to be a number that something can be measured by."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST < value < _MOST:
        raise SpecError(path, f"expected a number, got {value!r:.80}")
    return float(value)
