"""What ``pusher`` and its child process ``push_process`` say to each other."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

TIME_BYTES = 8
READY = b"ready\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send where; the address may hold a password, so it is never an argument."""

    url: str
    codec: str
    pixel_format: str
    rate: float
    size_wh: tuple[int, int]

    @property
    def frame_bytes(self) -> int:
        """Size of one frame's pixels, 4:2:0."""
        return self.size_wh[0] * self.size_wh[1] * 3 // 2

    def to_line(self) -> bytes:
        """The order as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """Reads what ``to_line`` wrote."""
        values = json.loads(line)
        return cls(**{**values, "size_wh": tuple(values["size_wh"])})
