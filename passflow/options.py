"""How to count, beyond what the SDK's document names."""

from __future__ import annotations

from dataclasses import dataclass

MOST_INTERVAL = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one run counts.

    Attributes:
        vis: whether each frame's picture is drawn.
        mosaic: whether people in it are hidden.
        detect_interval: every so many frames one is looked at, from 1 to ``MOST_INTERVAL``.
        threshold: least confidence of the detector in a person that counts, above 0 and at most 1.
        model: name of a detector in configs/models.yaml, or path of its ONNX file.
        stream_timeout_s: how long a stream may give no picture, at its beginning or later.
    """

    vis: bool = False
    mosaic: bool = True
    detect_interval: int = 1
    threshold: float = 0.5
    model: str = "yolox_nano"
    stream_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        whole = isinstance(self.detect_interval, int) and not isinstance(self.detect_interval, bool)
        if not whole or not 1 <= self.detect_interval <= MOST_INTERVAL:
            raise ValueError(f"detect_interval: expected 1 to {MOST_INTERVAL}, got {self.detect_interval!r}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold: expected more than 0 and at most 1, got {self.threshold!r}")
        if not self.stream_timeout_s > 0:
            raise ValueError(f"stream_timeout_s: expected seconds above 0, got {self.stream_timeout_s!r}")

    @property
    def hides(self) -> bool:
        """Whether there are pictures in which people are hidden."""
        return self.vis and self.mosaic
