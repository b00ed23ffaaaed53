"""The classes of the detectors that come with the server, by number and by name."""

from __future__ import annotations

from functools import cache
from typing import Any

from streamserver.core.settings import CONFIGS_DIR


@cache
def coco_names() -> tuple[str, ...]:
    """The names in configs/labels/coco.txt; the first is that of class 0."""
    return tuple((CONFIGS_DIR / "labels" / "coco.txt").read_text("utf-8").splitlines())


def class_number(wanted: Any) -> int | None:
    """The number of a class that is given by name, by number or by the number's digits; ``None`` for what is none."""
    if isinstance(wanted, str):
        if wanted in coco_names():
            return coco_names().index(wanted)
        return int(wanted) if wanted.isascii() and wanted.isdigit() else None
    return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 0 else None
