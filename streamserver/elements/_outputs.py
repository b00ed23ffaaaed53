"""Where ``encode`` writes a channel: a video file, a folder of pictures, a media server, a web socket."""

from __future__ import annotations

import base64
import collections
import contextlib
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.files import write_atomically
from streamserver.core.wire_json import to_json
from streamserver.elements._drawing import shown
from streamserver.elements._message import message_of
from streamserver.elements._results import Disk
from streamserver.elements._ws_server import NewestServer
from streamserver.engine.frame import Frame
from streamserver.media.encoding import Encoding
from streamserver.media.pusher import Pusher
from streamserver.media.video_writer import VideoWriter
from streamserver.vision.codec import encode_jpeg

logger = logging.getLogger(__name__)

_RATE_FRAMES = 100
"""Over how many frames ``mFps`` is measured."""


class Output(Protocol):
    """Where one channel goes."""

    def write(self, frame: Frame) -> None:
        """Takes a frame, drawn over or not; one that has a picture."""

    def close(self, *, hurry: bool) -> None:
        """Completes what was written; ``hurry`` when there is no time for what still waits."""


class VideoFile:
    """A video file; the graph waits for the encoder, and only a disk that takes nothing costs frames.

    Begun with the first frame. After a failure another file is begun, and what was written stays (``keep_former``).
    """

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._path = path
        self._encoding = encoding
        self._disk = Disk(path)
        self._writer: VideoWriter | None = None

    def write(self, frame: Frame) -> None:
        """Adds the frame."""
        self._disk.attempt(lambda: self._add(shown(frame).bgr))

    def close(self, *, hurry: bool) -> None:
        """Completes the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._disk.attempt(writer.close)
        _say_what_was_left_out(self._path, self._disk.left_out)

    def _add(self, image_bgr: ImageBgr) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            keep_former(self._path)
            self._writer = VideoWriter(self._path, self._encoding)
        try:
            self._writer.write(image_bgr)
        except OSError:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                writer.close()
            raise


class ImageFolder:
    """A folder with a JPEG for each frame, named by its number; the graph waits for the disk."""

    def __init__(self, folder: Path, size_wh: tuple[int, int]) -> None:
        self._folder = folder
        self._size_wh = size_wh
        self._disk = Disk(folder)

    def write(self, frame: Frame) -> None:
        """Writes the frame; one of the same number, from a former loop of the source, is replaced."""
        self._disk.attempt(lambda: self._save(frame))

    def close(self, *, hurry: bool) -> None:
        """Says what is missing."""
        _say_what_was_left_out(self._folder, self._disk.left_out)

    def _save(self, frame: Frame) -> None:
        image_bgr = _resized(shown(frame).bgr, self._size_wh)
        write_picture(self._folder / f"{frame.frame_id}.jpg", encode_jpeg(image_bgr))


class MediaServer:
    """An RTSP or RTMP server; it never keeps the graph waiting, and may be away."""

    def __init__(self, url: str, encoding: Encoding) -> None:
        self._pusher = Pusher(url, encoding)

    def write(self, frame: Frame) -> None:
        """Hands the frame over."""
        self._pusher.put(shown(frame))

    def close(self, *, hurry: bool) -> None:
        """Ends the stream."""
        self._pusher.close(hurry=hurry)


class WebSocket:
    """A web-socket server; frames are encoded only while somebody looks."""

    def __init__(
        self, host: str, port: int, *, serialized: bool, size_wh: tuple[int, int], page_hosts: Collection[str] = ()
    ) -> None:
        self._server = NewestServer(host, port, page_hosts=page_hosts)
        self._serialized = serialized
        self._size_wh = size_wh
        self._times: collections.deque[float] = collections.deque(maxlen=_RATE_FRAMES)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def write(self, frame: Frame) -> None:
        """Shows the frame to whoever is connected."""
        self._times.append(time.monotonic())
        if not self._server.has_clients:
            return
        if self._serialized:
            message = message_of(frame, with_pictures=True, fps=self._fps())
            self._server.show(to_json(message).decode())
        else:
            image_bgr = _resized(shown(frame).bgr, self._size_wh)
            self._server.show(base64.b64encode(encode_jpeg(image_bgr)).decode("ascii"))

    def close(self, *, hurry: bool) -> None:
        """Closes all connections."""
        self._server.close(hurry=hurry)

    def _fps(self) -> float:
        """Frames a second lately; 0 before the second frame."""
        span_s = self._times[-1] - self._times[0]
        return round((len(self._times) - 1) / span_s, 2) if span_s > 0 else 0.0


def write_picture(path: Path, jpeg: bytes) -> None:
    """Writes a file, in its folder that may have to be made, or made again after somebody tidied up."""
    try:
        write_atomically(path, jpeg)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, jpeg)


def keep_former(path: Path) -> None:
    """Gives a file that is there another name, ``0_0.1.avi`` and so on: a task that starts again loses no recording."""
    if not path.exists():
        return
    number = 1
    while (former := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(former)


def _resized(image_bgr: ImageBgr, size_wh: tuple[int, int]) -> ImageBgr:
    height, width = image_bgr.shape[:2]
    wanted = (size_wh[0] if size_wh[0] > 0 else width, size_wh[1] if size_wh[1] > 0 else height)
    if wanted == (width, height):
        return image_bgr
    way = cv2.INTER_AREA if wanted[0] < width and wanted[1] < height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_bgr, wanted, interpolation=way), dtype=np.uint8)


def _say_what_was_left_out(path: Path, count: int) -> None:
    if count:
        logger.warning("%s: %d frames were left out in all", path, count)
