"""Draws the demo's clip: walkers on a textured ground, so that motion alone finds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr

SIZE_WH = (640, 360)
FPS = 12
_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Walker:
    """One figure that crosses the picture in a straight line.

    Attributes:
        start_s: when it enters.
        seconds: how long it takes from edge to edge.
        foot_y: where its feet are, in pixels from the top.
        height: its height in pixels.
        to_right: which way it walks.
        colour_bgr: its clothes.
    """

    start_s: float
    seconds: float
    foot_y: int
    height: int
    to_right: bool
    colour_bgr: tuple[int, int, int]


WALKERS = (
    Walker(1.5, 5.0, 300, 130, True, (40, 40, 160)),
    Walker(5.0, 5.5, 250, 105, False, (150, 90, 30)),
    Walker(8.5, 5.0, 330, 145, True, (30, 120, 40)),
)
"""Two walk to the right, one to the left; each crosses the middle once."""


def draw_clip(path: Path, *, fps: int = FPS) -> None:
    """Writes the clip as MPEG-4 in an MP4 file of ``SIZE_WH`` at ``fps`` frames a second."""
    background = _background()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for index in range(fps * _SECONDS):
            picture = draw_picture(background, index / fps)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))


def draw_picture(background: ImageBgr, time_s: float) -> ImageBgr:
    """The scene ``time_s`` seconds after the clip's start, as a new array of the background's shape."""
    picture = background.copy()
    for walker in sorted(WALKERS, key=lambda one: one.foot_y):
        progress = (time_s - walker.start_s) / walker.seconds
        if 0.0 <= progress <= 1.0:
            _draw_walker(picture, walker, progress, time_s)
    return picture


def _background() -> ImageBgr:
    width, height = SIZE_WH
    noise = np.random.default_rng(7).integers(0, 40, (height // 8, width // 8, 3), dtype=np.uint8)
    ground = cv2.resize(noise, SIZE_WH, interpolation=cv2.INTER_CUBIC) + np.uint8(120)
    for x in range(0, width, 80):
        cv2.line(ground, (x, height), (width // 2 + (x - width // 2) // 4, 140), (150, 150, 150), 1)
    cv2.rectangle(ground, (0, 0), (width, 140), (175, 160, 140), -1)
    for x in range(20, width, 110):
        cv2.rectangle(ground, (x, 40), (x + 60, 110), (120, 105, 90), -1)
    return np.asarray(ground, dtype=np.uint8)


def _draw_walker(picture: ImageBgr, walker: Walker, progress: float, time_s: float) -> None:
    width = SIZE_WH[0]
    margin = walker.height // 3
    travelled = round(progress * (width + 2 * margin)) - margin
    x = travelled if walker.to_right else width - travelled
    swing = round(np.sin(time_s * 9.0) * walker.height * 0.12)
    hip, neck = walker.foot_y - walker.height // 2, walker.foot_y - round(walker.height * 0.82)
    for side in (-1, 1):
        cv2.line(picture, (x, hip), (x + side * swing, walker.foot_y), (45, 45, 50), max(6, walker.height // 11))
    body = ((x, (hip + neck) // 2), (walker.height // 6, (hip - neck) // 2 + 6))
    cv2.ellipse(picture, body[0], body[1], 0, 0, 360, walker.colour_bgr, -1)
    cv2.circle(picture, (x, neck - walker.height // 12), walker.height // 11, (120, 150, 200), -1)
