"""What all readers through OpenCV share: opening with limits, grabbing, converting late, and silence on stderr.

Importing this quietens OpenCV and the FFmpeg inside it for the whole process: both would write addresses to standard
error, with their passwords.
"""

from __future__ import annotations

import functools
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.media import ffmpeg_memory
from streamserver.media.connection import Decoded, Luma
from streamserver.media.diagnosis import DRAWN_TEXT_CODECS, NO_ANSWER, NO_VIDEO
from streamserver.media.egress import BYTES_ONLY, Egress
from streamserver.media.pacing import plausible_rate
from streamserver.media.picture_size import too_large

os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET; read when the first video is opened
os.environ["OPENCV_FFMPEG_IS_THREAD_SAFE"] = "1"  # or a camera that does not answer holds up all that open meanwhile
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_GRID = 8
"""Of every so many rows and columns, ``Decoded.luma`` takes one."""

_BROKEN_IN_A_ROW = 2000
"""OpenCV says the same of a packet that cannot be decoded and of the end: after so many in a row it is the end."""

NO_KEY_FRAME = "no key frame has come yet"
"""A stream was joined between two key frames: OpenCV never learns the size of its pictures, and gives empty ones."""

_TICK_S = 0.1


class _OpeningGate:
    """FFmpeg's options reach OpenCV through an environment variable: who opens with the same ones may do so at once.

    Once nobody opens, the variable is what it was: a program that counts with ``passflow`` opens videos of its own.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._change = threading.Condition()
        self._options = ""
        self._before: str | None = None
        self._inside = 0

    def enter(self, options: str, stopping: threading.Event) -> None:
        """Waits until nobody opens with other options, then sets these.

        Who waits holds the door, so that those who come later with the options of now cannot keep it waiting for ever.

        Raises:
            SourceError: ``stopping`` was set before.
        """
        while not self._door.acquire(timeout=_TICK_S):
            _raise_if(stopping)
        try:
            self._enter(options, stopping)
        finally:
            self._door.release()

    def _enter(self, options: str, stopping: threading.Event) -> None:
        with self._change:
            while self._inside and self._options != options:
                _raise_if(stopping)
                self._change.wait(_TICK_S)
            if not self._inside:
                self._before = os.environ.get(_OPTIONS_VARIABLE)
                os.environ[_OPTIONS_VARIABLE] = options
            self._options = options
            self._inside += 1

    def leave(self) -> None:
        """The video is open, or could not be opened."""
        with self._change:
            self._inside -= 1
            if not self._inside and self._before is None:
                os.environ.pop(_OPTIONS_VARIABLE, None)  # the program around may have removed it
            elif not self._inside:
                os.environ[_OPTIONS_VARIABLE] = self._before or ""
            self._change.notify_all()


def _raise_if(stopping: threading.Event) -> None:
    if stopping.is_set():
        raise SourceError("it is not wanted any more")


_gate = _OpeningGate()


class OpenCvReader:
    """The first video stream of a file, address or camera, decoded in one thread.

    Args:
        address: what FFmpeg opens, the path of a camera, or a file object that gives the bytes and can seek.
        options: FFmpeg's options for this protocol.
        timeout_s: seconds to open and seconds to wait for a picture.
        camera: ``address`` is a device of the kernel's (V4L2).
        stopping: ends the wait for others that open.
        on_broken: told of packets that could not be decoded.
        egress: what it may reach; ``None`` for everything.

    Raises:
        SourceError: it cannot be opened; OpenCV does not say why, but for ``NO_KEY_FRAME``.
    """

    def __init__(
        self,
        address: str | io.BufferedIOBase,
        *,
        options: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] = (10.0, 10.0),
        camera: bool = False,
        stopping: threading.Event | None = None,
        on_broken: Callable[[int], None] = lambda packets: None,
        egress: Egress | None = None,
    ) -> None:
        self._egress = egress or Egress(None)
        self._on_broken = on_broken
        self._read_s = timeout_s[1]
        self._picture: Picture | None = None
        if camera:
            self._capture = cv2.VideoCapture(str(address), _camera_backend())
        else:
            limits = {} if isinstance(address, str) else BYTES_ONLY
            ffmpeg_memory.bound()
            with self._egress:
                self._capture = _open_with_ffmpeg(address, {**limits, **(options or {})}, timeout_s, stopping or _NEVER)
        if not self._capture.isOpened():
            raise SourceError("OpenCV cannot open it")
        if _codec(self._capture) in DRAWN_TEXT_CODECS:
            self._capture.release()
            raise SourceError(NO_VIDEO)
        self._size_wh = self._announced_size()
        if not all(self._size_wh):
            self._capture.release()
            raise SourceError(NO_KEY_FRAME)
        if problem := too_large(self._size_wh):
            self._capture.release()
            raise SourceError(problem)

    def __enter__(self) -> OpenCvReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; may be called more than once. The last picture stays."""
        self._settle()
        self._capture.release()

    @property
    def stream(self) -> str:
        """What is read, in words: ``h264 1920x1080 25 fps``."""
        width, height = self._size_wh
        return f"{_codec(self._capture)} {width}x{height} {self.rate:.4g} fps"

    @property
    def rate(self) -> float:
        """Frames a second, as the stream says; a plausible one where that cannot be."""
        return plausible_rate(self._capture.get(cv2.CAP_PROP_FPS))

    def frames(self) -> Iterator[Decoded]:
        """Every frame that can be decoded; a packet that cannot is left out.

        A picture is converted when somebody asks, but at the latest when the next one is wanted: OpenCV keeps only the
        newest. One that was given up is not.

        Raises:
            SourceError: no picture has come in time.
        """
        first = True
        while self._grab():
            time_s = self._time_s(first=first)
            first = False
            picture = self._picture = Picture(self._size_wh, self._retrieve)
            yield Decoded(picture, time_s, functools.partial(_luma_of, picture))
            del picture
            self._settle()

    def _time_s(self, *, first: bool) -> float | None:
        """When the newest frame is due; OpenCV says 0 where it does not know."""
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return time_s if time_s or first else None

    def _grab(self) -> bool:
        """Goes on to the next frame; False when there are no more.

        When a time limit expires, FFmpeg first hands out what its parser and its decoder hold. Such a frame is left
        out: it would come many seconds late and look like a sign of life.
        """
        began = time.monotonic()
        for broken in range(_BROKEN_IN_A_ROW):
            with self._egress:
                grabbed = self._capture.grab()
            if time.monotonic() - began >= self._read_s:
                raise SourceError(NO_ANSWER)
            if grabbed:
                if broken:
                    self._on_broken(broken)
                return True
        return False

    def _settle(self) -> None:
        """Converts the newest picture, unless nobody wants it, before OpenCV forgets it."""
        picture, self._picture = self._picture, None
        if picture is not None and not picture.given_up:
            _ = picture.bgr

    def _retrieve(self) -> ImageBgr:
        """The newest frame in the size of the first, as OpenCV itself makes it; black if it is damaged beyond use."""
        width, height = self._size_wh
        retrieved, image = self._capture.retrieve()
        if not retrieved:
            self._on_broken(1)
            return np.zeros((height, width, 3), np.uint8)
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)

    def _announced_size(self) -> tuple[int, int]:
        return int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


_NEVER = threading.Event()


def _open_with_ffmpeg(
    address: str | io.BufferedIOBase,
    options: Mapping[str, str],
    timeout_s: tuple[float, float],
    stopping: threading.Event,
) -> cv2.VideoCapture:
    source: Any = address  # OpenCV's own annotations do not know of file objects
    _gate.enter("|".join(f"{key};{value}" for key, value in options.items()), stopping)
    try:
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, _parameters(timeout_s))
    finally:
        _gate.leave()


def _parameters(timeout_s: tuple[float, float]) -> list[int]:
    return [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(timeout_s[0] * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(timeout_s[1] * 1000)),
        *(cv2.CAP_PROP_N_THREADS, 1),
        *(cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE),
    ]


def _camera_backend() -> int:
    return cv2.CAP_V4L2 if cv2.CAP_V4L2 in cv2.videoio_registry.getCameraBackends() else cv2.CAP_ANY


def _codec(capture: cv2.VideoCapture) -> str:
    tag = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = tag.to_bytes(4, "little").decode("latin-1").strip().lower()
    return name if name.isascii() and name.isprintable() and name else "video"


def _luma_of(picture: Picture) -> Luma:
    """The brightness of every eighth pixel of every eighth row."""
    return np.asarray(cv2.cvtColor(picture.bgr[::_GRID, ::_GRID].copy(), cv2.COLOR_BGR2GRAY), dtype=np.uint8)
