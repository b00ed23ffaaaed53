"""The part of the frame that a detector looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Planes

P = TypeVar("P", Planes, ImageBgr)

_KEYS = ("left", "top", "width", "height")


@dataclass(frozen=True, slots=True)
class Roi:
    """A rectangle in pixels of the frame."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def from_config(cls, value: Any) -> Roi | None:
        """From an element's ``roi`` object; ``None`` stays ``None``; raises ``ValueError`` for anything else."""
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object with {', '.join(_KEYS)}, got {value!r}")
        for key in _KEYS:
            number = value.get(key)
            if not isinstance(number, int) or isinstance(number, bool) or number < (key in ("width", "height")):
                raise ValueError(f"{key}: expected a number of pixels, got {number!r}")
        return cls(*(value[key] for key in _KEYS))

    def crop(self, pixels: P) -> P:
        """The part of the picture inside the rectangle, a view; empty where they do not meet."""
        if isinstance(pixels, Planes):
            return pixels.cut(self.left, self.top, self.width, self.height)
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at ({self.left}, {self.top})"
