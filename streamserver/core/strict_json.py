"""Reads a JSON body from outside: what is ambiguous or could hurt a later reader is refused with its JSON path."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from streamserver.core.errors import BadRequestError, BodyTooLargeError
from streamserver.core.secrets import hide
from streamserver.core.urls import masked

MAX_DEPTH = 32
"""Levels of objects and lists within each other."""

MAX_VALUES = 100_000
"""Values in all objects and lists together."""

MAX_STRING = 4096
"""Characters of one string or key."""

_MAX_DIGITS = 32
_SHOWN = 80
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"\w+")

JsonPath = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""


class _DoubledObject(dict[str, Any]):
    """An object in which ``doubled`` appeared twice."""

    doubled: str


def parse_object(body: bytes, *, max_bytes: int) -> dict[str, Any]:
    """The JSON object in ``body``.

    Refused: more than ``max_bytes``, text that is not UTF-8, anything but one object, a key twice in one object, NaN,
    Infinity, numbers beyond a double or of more than 32 digits, halves of surrogate pairs, strings over 4096
    characters, more than 32 levels, more than 100,000 values.

    Raises:
        BodyTooLargeError: the body is too large.
        BadRequestError: anything else; says where.
    """
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    content = _load(_decode(body))
    if not isinstance(content, dict):
        raise BadRequestError(f"expected an object, got {describe(content)}", cure='send {"name": value, …}')
    _check(content)
    return content


def too_large(max_bytes: int) -> BodyTooLargeError:
    """The error for a body over ``max_bytes``."""
    return BodyTooLargeError(
        f"the body is larger than {max_bytes} bytes", cure="send less, or raise the setting max_body_bytes"
    )


def path_text(path: JsonPath) -> str:
    """``$.Algorithm[0].Type`` for ``("Algorithm", 0, "Type")``; odd keys are quoted."""
    return "$" + "".join(_step(part) for part in path)


def describe(value: object) -> str:
    """A value for a message: short, in JSON, credentials masked."""
    if isinstance(value, dict):
        return f"an object with {len(value)} keys" if value else "{}"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "[]"
    # Longer text is masked before it is cut: half an address could show the password that the cut kept from the mask.
    text = json.dumps(hide(masked(value)) if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadRequestError(f"the body is not UTF-8 at byte {e.start}", cure="send UTF-8") from e


def _load(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse_constant,
        )
    except RecursionError as e:
        raise _too_deep("$") from e
    except json.JSONDecodeError as e:
        where = f"line {e.lineno} column {e.colno}"
        raise BadRequestError(f"the body is not JSON: {e.msg} at {where}", cure='send {"name": value, …}') from e


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    seen: set[str] = set()
    marked = _DoubledObject(content)
    for key, _ in pairs:
        if key in seen:
            marked.doubled = key
        seen.add(key)
    return marked


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise BadRequestError(f"the number {digits[:_MAX_DIGITS]}… has {len(digits)} digits", cure="send a smaller one")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadRequestError(f"the number {digits[:_MAX_DIGITS]} is too large", cure="send a smaller one")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequestError(f"{name} is not JSON", cure="send a number")


def _check(content: dict[str, Any]) -> None:
    waiting: list[tuple[JsonPath, Any]] = [((), content)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        if value and not isinstance(value, str) and len(path) >= MAX_DEPTH:
            raise _too_deep(path_text(path[:3]) + "…")
        if isinstance(value, _DoubledObject):
            raise BadRequestError(
                f"the key {describe(value.doubled)} appears twice", path=path_text(path), cure="keep one of them"
            )
        for text in _strings(value):
            _check_string(text, path)
        if isinstance(value, dict | list):
            count += len(value)
            if count > MAX_VALUES:
                raise BadRequestError(f"more than {MAX_VALUES} values", cure="send less of them")
            waiting.extend(((*path, step), child) for step, child in _items(value) if isinstance(child, _WITH_TEXT))


_WITH_TEXT = (str, dict, list)


def _items(value: dict[str, Any] | list[Any]) -> Iterable[tuple[str | int, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value


def _check_string(text: str, path: JsonPath) -> None:
    if len(text) > MAX_STRING:
        raise BadRequestError(
            f"a text of {len(text)} characters is too long", path=path_text(path), cure=f"at most {MAX_STRING}"
        )
    if _SURROGATE.search(text):
        raise BadRequestError(
            "half of a surrogate pair is no character", path=path_text(path), cure="send both halves or UTF-8"
        )


def _too_deep(where: str) -> BadRequestError:
    return BadRequestError(f"more than {MAX_DEPTH} levels of nesting", path=where, cure="send less of them")


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _PLAIN_KEY.fullmatch(part):
        return f".{part}"
    short = part if len(part) <= _SHOWN else f"{part[:_SHOWN]}…"
    return f"[{json.dumps(short, ensure_ascii=False)}]"
