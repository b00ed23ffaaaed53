"""Clips in which nothing happens for a minute before each event, made once and kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clips import cache_dir
from bench.table import Missing
from streamserver.core.settings import PROJECT_DIR

GROUP_S = 2
"""From key frame to key frame."""

_NOISE = 3.0
_PATTERNS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A clip of people or cars, with idle time put in before each of its parts.

    Attributes:
        source: the name of the shared clip.
        rate: frames a second; a fraction for those of other rates.
        parts: its frames from and to; events begin after each start.
        line: whose crossings are counted, and the tip of its arrow from the middle.
        detector: ``model`` or ``motion``.
    """

    source: str
    rate: str
    parts: tuple[tuple[int, int], ...]
    line: tuple[int, int, int, int]
    direction: tuple[int, int]
    detector: str = "model"


ONE_BY_ONE = Scene(
    source="one-by-one-person-detection.mp4",
    rate="10",
    parts=((40, 215), (215, 480), (480, 725), (725, 905), (905, 1220), (1220, 1394)),
    line=(580, 0, 580, 431),
    direction=(60, 0),
)
CARS = Scene(
    source="car-detection.mp4",
    rate="25/2",
    parts=((0, 377),),
    line=(0, 216, 767, 216),
    direction=(0, -60),
    detector="motion",
)
STREET = Scene(
    source="vtest.avi", rate="10", parts=((0, 265), (265, 530), (530, 795)), line=(0, 330, 767, 330), direction=(0, 60)
)


def with_idle_time(scene: Scene, *, idle_s: float = 60.0, parts: int | None = None, folder: Path | None = None) -> Path:
    """The clip, H.264 with a key frame every 2 s; before each part its empty background with a sensor's noise.

    Args:
        scene: what is shown.
        idle_s: how long nothing happens before each part.
        parts: how many of the parts; all unless given.
        folder: where it is kept; the cache unless given.

    Raises:
        Missing: the shared clip is not there.
    """
    name = f"idle_{Path(scene.source).stem}_{idle_s:g}s_{parts or len(scene.parts)}.mp4"
    path = (folder or cache_dir()) / name
    if not path.is_file():
        images = list(_frames(scene.source))
        _write(path, scene.rate, _with_stills(images, scene, idle_s, scene.parts[:parts]))
    return path


def empty_scene_1080p(seconds: int = 20) -> Path:
    """A street without anybody, 1920x1080, 25 frames a second, H.264 at about 4 Mb/s, a key frame every 2 s."""
    path = cache_dir() / f"empty_1080p_{seconds}s.mp4"
    if not path.is_file():
        import cv2

        still = cv2.resize(_background(list(_frames("vtest.avi"))), (1920, 1080), interpolation=cv2.INTER_CUBIC)
        _write(path, "25", (still for _ in range(seconds * 25)), bits_a_second=4_000_000)
    return path


def _with_stills(frames: list[Any], scene: Scene, idle_s: float, parts: Sequence[tuple[int, int]]) -> Iterator[Any]:
    from fractions import Fraction

    background = _background(frames)
    for start, end in parts:
        yield from (background for _ in range(round(idle_s * Fraction(scene.rate))))
        yield from map(_image, frames[start:end])


def _background(frames: list[Any]) -> Any:
    """What most pictures show at each place."""
    import numpy as np

    some = [_image(frame) for frame in frames[:: max(1, len(frames) // 40)]]
    return np.median(np.stack(some), axis=0).astype(np.uint8)


def _image(frame: Any) -> Any:
    """A decoded frame in colours; most are never asked for, and these take twice the memory."""
    return frame.to_ndarray(format="bgr24")


def _frames(name: str) -> Iterator[Any]:
    import av

    source = PROJECT_DIR.parent / "shared" / "media" / "video" / name
    if not source.is_file():
        raise Missing(f"'{source}' is not there; shared/media/README.md says where it is from")
    with av.open(str(source)) as container:
        yield from container.decode(video=0)


def _write(path: Path, rate: str, images: Iterator[Any], *, bits_a_second: int = 0) -> None:
    from fractions import Fraction

    import av
    import numpy as np

    random = np.random.default_rng(7)
    group = round(GROUP_S * Fraction(rate))
    options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "x264-params": "sliced-threads=0",
        "bf": "0",
        "g": str(group),
        "sc_threshold": "0",
    }
    if not bits_a_second:
        options["crf"] = "28"
    part, patterns = path.with_suffix(".part.mp4"), list[Any]()
    with av.open(str(part), "w") as writer:
        stream = writer.add_stream("libx264", rate=Fraction(rate), options=options)
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(images):
            if not patterns:
                stream.height, stream.width = image.shape[:2]
                if bits_a_second:
                    stream.bit_rate = bits_a_second
                shape = (*image.shape[:2], 1)
                patterns = [random.normal(0, _NOISE, shape).astype(np.int16) for _ in range(_PATTERNS)]
            noise = np.roll(patterns[number % _PATTERNS], number * 37 % image.shape[1], axis=1)
            noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="bgr24")))
        writer.mux(stream.encode(None))
    part.replace(path)
