"""JSON files and their keys, read with errors that name file, place, key and value."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from pathlib import Path
from typing import Any, NoReturn

from streamserver.core.errors import GraphError
from streamserver.core.secrets import hide
from streamserver.core.slips import SAME_BUT_FOR_A_SLIP, nearest
from streamserver.core.urls import masked

_SHOWN_CHARACTERS = 80


def load_json(path: Path) -> Any:
    """The parsed content of ``path``.

    Raises:
        GraphError: the file is absent, cannot be read or is not JSON (NaN and Infinity are not).
    """
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError as e:
        raise GraphError(f"{path}: not found") from e
    except OSError as e:
        raise GraphError(f"{path}: cannot be read: {e.strerror}") from e
    except (ValueError, RecursionError) as e:
        raise GraphError(f"{path}: is not JSON: {e}") from e


def show(value: Any) -> str:
    """``value`` as JSON for a message: short, printable, and without the secrets of an address."""
    value = masked(value) if isinstance(value, str) else value
    encoded = json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8", "backslashreplace")
    text = hide(encoded.decode("utf-8"))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


class Fields:
    """The keys of one JSON object, each read once with its type.

    Args:
        values: the object.
        where: file and place in it, e.g. ``demo.json: channels[0]``; the beginning of every message.

    Raises:
        GraphError: ``values`` is not an object; by every method, a key is missing without a default or its value is of
            the wrong type.
    """

    def __init__(self, values: Any, *, where: str) -> None:
        if not isinstance(values, dict):
            raise GraphError(f"{where}: expected an object, got {show(values)}")
        self.where = where
        self._values: dict[str, Any] = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def integer(self, key: str, default: int | None = None, *, low: int | None = None) -> int:
        """A whole number (``3.0`` is one, ``true`` is not), at least ``low``."""
        value = self.number(key, default)
        if not float(value).is_integer():
            self.fail(key, f"expected a whole number, got {show(value)}")
        if low is not None and value < low:
            self.fail(key, f"{show(value)} is too small", cure=f"use {low} or more")
        return int(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; whole ones stay ``int``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.fail(key, f"expected a number, got {show(value)}")
        return value

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """``true`` or ``false``."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"expected true or false, got {show(value)}")
        return value

    def text(self, key: str, default: str | None = None, *, allow_empty: bool = False) -> str:
        """A string; a required one is not empty unless ``allow_empty``."""
        value = self._get(key, default)
        if not isinstance(value, str) or not (value or allow_empty or default is not None):
            self.fail(key, f"expected a text, got {show(value)}")
        return value

    def items(self, key: str, default: list[Any] | None = None) -> list[Any]:
        """An array, its items unchecked."""
        value = self._get(key, default)
        if not isinstance(value, list):
            self.fail(key, f"expected an array, got {show(value)}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """An array of whole numbers; empty when the key is absent."""
        values = self.items(key, [])
        if any(isinstance(value, bool) or not isinstance(value, int) for value in values):
            self.fail(key, f"expected an array of whole numbers, got {show(values)}")
        return tuple(values)

    def mapping(self, key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """An object, its keys unchecked."""
        value = self._get(key, default)
        if not isinstance(value, dict):
            self.fail(key, f"expected an object, got {show(value)}")
        return value

    def others(self, known: Set[str]) -> dict[str, Any]:
        """The keys that are not in ``known``."""
        return {key: value for key, value in self._values.items() if key not in known}

    def fail(self, key: str, problem: str, *, cure: str = "") -> NoReturn:
        """Raises the error that says what is wrong with ``key``."""
        raise GraphError(f"{self.where}: {key}: {problem}", cure=cure)

    def _get(self, key: str, default: Any) -> Any:
        if key in self._values:
            return self._values[key]
        if default is None:
            near = nearest(key, self._values, likeness=SAME_BUT_FOR_A_SLIP)
            self.fail(key, "is missing", cure=f"write it so where it says '{near}'" if near else "")
        return default


def _is_finite(value: float) -> bool:
    """False also for integers beyond any float, such as ``1e400`` written out."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
