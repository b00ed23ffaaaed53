"""A clip of number plates on the move, made from pictures of plates whose text is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr

SIZE_WH = (960, 540)
_RATE = 25
_GREY = 90


@dataclass(frozen=True, slots=True)
class Ride:
    """One picture's way through the clip, as shares of the frame; it grows or shrinks on the way.

    Attributes:
        picture_bgr: what is shown.
        frames: first frame and the one after the last.
        way: where its centre begins and ends, each x, y.
        widths_px: how wide it is at the beginning and at the end.
    """

    picture_bgr: ImageBgr
    frames: tuple[int, int]
    way: tuple[tuple[float, float], tuple[float, float]]
    widths_px: tuple[float, float]


def read_picture(path: Path) -> ImageBgr:
    """A picture whose name need not be ASCII."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return np.asarray(picture, dtype=np.uint8)


def draw(rides: Sequence[Ride], number: int) -> ImageBgr:
    """Frame ``number``: a noisy road with every picture that is on its way."""
    noise = np.random.default_rng(number).integers(-8, 9, (SIZE_WH[1], SIZE_WH[0], 1))
    frame = np.repeat(np.clip(_GREY + noise, 0, 255).astype(np.uint8), 3, axis=2)
    for ride in rides:
        first, end = ride.frames
        if first <= number < end:
            _paste(frame, ride, (number - first) / max(1, end - first - 1))
    return frame


def write(path: Path, rides: Sequence[Ride], *, frames: Iterable[int]) -> Path:
    """Writes these frames as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        for number in frames:
            frame = av.VideoFrame.from_ndarray(draw(rides, number), format="bgr24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def _paste(frame: ImageBgr, ride: Ride, share: float) -> None:
    height, width = ride.picture_bgr.shape[:2]
    (x1, y1), (x2, y2) = ride.way
    centre = (SIZE_WH[0] * (x1 + share * (x2 - x1)), SIZE_WH[1] * (y1 + share * (y2 - y1)))
    scale = (ride.widths_px[0] + share * (ride.widths_px[1] - ride.widths_px[0])) / width
    move = np.array(
        [[scale, 0, centre[0] - scale * width / 2], [0, scale, centre[1] - scale * height / 2]], dtype=np.float64
    )
    cv2.warpAffine(
        ride.picture_bgr,
        move,
        SIZE_WH,
        dst=frame,
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
