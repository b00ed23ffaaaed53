"""What a person may have to say of a yolo file because the file does not: ``options`` of its entry, or keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamserver.models._yolo_cells import Anchors

_LEVELS = (3, 4)
_PAD_DEFAULT = 114
_MOST_PX = 1e6


@dataclass(frozen=True, slots=True)
class YoloOptions:
    """How to read a file.

    Attributes:
        anchors: those of the file, where they are not the family's usual ones.
        corners: 4 when the four corners of the object follow the objectness in each row, else 0.
        one_class: all classes of the file are one to us, number 0.
        pad: grey value around the picture.
        enlarge: whether a picture smaller than the input is scaled up to fill it.
    """

    anchors: Anchors | None = None
    corners: int = 0
    one_class: bool = False
    pad: int = _PAD_DEFAULT
    enlarge: bool = True

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, known: tuple[str, ...]) -> YoloOptions:
        """Reads and checks options; raises ``ValueError`` that begins with the key's name and a colon."""
        for key in values:
            if key not in known:
                raise ValueError(f"{key}: is no option here; there are {', '.join(known)}")
        anchors = values.get("anchors")
        return cls(
            anchors=None if anchors is None else _anchors(anchors),
            corners=_corners(values.get("corners", 0)),
            one_class=_flag(values, "one_class", default=False),
            pad=_whole(values, "pad", default=_PAD_DEFAULT, most=255),
            enlarge=_flag(values, "enlarge", default=True),
        )


def _anchors(value: Any) -> Anchors:
    """From one list of width, height, width, height, … for each grid, the finest first."""
    if not isinstance(value, list) or len(value) not in _LEVELS or not all(isinstance(row, list) for row in value):
        raise ValueError(f"anchors: expected three or four lists, one for each grid, got {value!r}")
    counts = {len(row) for row in value}
    if len(counts) != 1 or counts & {0} or counts.pop() % 2:
        raise ValueError(f"anchors: expected the same number of widths and heights in each list, got {value!r}")
    for number in (number for row in value for number in row):
        good = isinstance(number, int | float) and not isinstance(number, bool)
        if not good or not 0 < number <= _MOST_PX:
            raise ValueError(f"anchors: expected widths and heights in pixels, got {number!r}")
    return tuple(tuple((float(row[i]), float(row[i + 1])) for i in range(0, len(row), 2)) for row in value)


def _corners(value: Any) -> int:
    if isinstance(value, bool) or value not in (0, 4):
        raise ValueError(f"corners: expected 4, or 0 for none, got {value!r}")
    return int(value)


def _whole(values: Mapping[str, Any], key: str, *, default: int, most: int) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{key}: expected a whole number from 0 to {most}, got {value!r}")
    return value


def _flag(values: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{key}: expected true or false, got {value!r}")
    return value
