"""JSON with pictures in it: what engine and client say to each other, and reports.

A message of half a megabyte costs Python's own ``json`` a millisecond to read or to write, msgspec a tenth of that.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec


def to_json(value: Any) -> bytes:
    """``value`` as JSON in UTF-8 without blanks, keys in alphabetical order, ``bytes`` as standard Base64.

    Raises:
        TypeError, ValueError, RecursionError: it has no form in JSON.
    """
    return msgspec.json.encode(value, order="sorted")


def report_to_json(report: Any) -> bytes:
    """A report of foreign code, in whatever ways ``json`` can write it; raises like ``to_json``.

    A lone surrogate becomes its JSON escape.
    """
    try:
        return msgspec.json.encode(report)
    except (TypeError, ValueError):
        text = json.dumps(report, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace")


def from_json(data: bytes) -> Any:
    """What ``json.loads`` gives, oddities included; raises ``ValueError`` or ``RecursionError``."""
    try:
        return msgspec.json.decode(data)
    except ValueError:  # UTF-16, NaN, a lone surrogate: Python's own json reads them, and has the better words
        return json.loads(data)
