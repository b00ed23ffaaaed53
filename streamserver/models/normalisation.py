"""From pixels to what a network wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr

Triple = tuple[float, float, float]

_MOST = 1e9
"""Nobody means a number beyond this, and float32 could not reckon with it."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``y = x * scale - offset`` for each channel of pixels from 0 to 255.

    Attributes:
        scale: one factor a channel, in the network's channel order.
        offset: one a channel, likewise.
        rgb: the network wants red first; otherwise blue first.
    """

    scale: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    rgb: bool = False

    @classmethod
    def per_channel(cls, *, scale: Any = 1.0, offset: Any = 0.0, rgb: bool = False) -> Normalisation:
        """From one number for all channels or a list of three; raises ``ValueError`` for anything else."""
        return cls(_triple(scale, "scale"), _triple(offset, "offset"), rgb)

    @classmethod
    def from_yolox_keys(cls, *, mean: Any, std: Any, bgr2rgb: bool) -> Normalisation:
        """From the keys of a sophon-stream yolox element, where ``y = x / (255 * std) - mean / std``.

        Raises:
            ValueError: names the key that is not a list of three numbers, or has a zero in ``std``.
        """
        means, stds = _triple(mean, "mean"), _triple(std, "std")
        if 0.0 in stds:
            raise ValueError(f"std: expected no zero, got {std!r}")
        scale = _triple([1 / (255 * deviation) for deviation in stds], "std")
        offset = _triple([m / deviation for m, deviation in zip(means, stds, strict=True)], "mean")
        return cls(scale, offset, bgr2rgb)

    @classmethod
    def from_mean_std(cls, *, mean: Any, std: Any, rgb: bool) -> Normalisation:
        """``y = (x - mean) / std``; raises ``ValueError`` naming the key that is not three numbers, or has a zero."""
        means, stds = _triple(mean, "mean"), _triple(std, "std")
        if 0.0 in stds:
            raise ValueError(f"std: expected no zero, got {std!r}")
        scale = _triple([1 / deviation for deviation in stds], "std")
        return cls(scale, _triple([m / d for m, d in zip(means, stds, strict=True)], "mean"), rgb)

    def fill(self, blob: FloatArray, image_bgr: ImageBgr) -> None:
        """Writes a picture of shape (height, width, 3) into ``blob`` of shape (3, height, width)."""
        planes = cv2.split(image_bgr)
        for row, plane in enumerate(reversed(planes) if self.rgb else planes):
            np.copyto(blob[row], plane)
        if self.scale != (1.0, 1.0, 1.0):
            blob *= np.array(self.scale, dtype=np.float32)[:, None, None]
        if any(self.offset):
            blob -= np.array(self.offset, dtype=np.float32)[:, None, None]


def _triple(value: Any, name: str) -> Triple:
    values = value if isinstance(value, list | tuple) else [value] * 3
    good = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= _MOST]
    if len(values) != 3 or len(good) != 3:
        raise ValueError(f"{name}: expected a number or three, got {value!r}")
    return (float(good[0]), float(good[1]), float(good[2]))
