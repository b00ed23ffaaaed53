"""``posec3d``, ``posec3d_group``: what people do, from their poses over some seconds. Keys: docs/elements.md.

It holds frames back, which elements else do not: those of one window, until the window is full or its channel ends or
breaks off. Their pictures wait as JPEGs, of which 72 of 1920x1080 take 30 to 60 MB instead of 450.
"""

from __future__ import annotations

import functools
import logging

from streamserver.core.errors import GraphError
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.elements._model import find_model, load_network, read_count, read_model_path, read_names
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models._pose_clips import Points, coco_points
from streamserver.models.posec3d import DEFAULT_CLIPS, PoseC3D
from streamserver.vision.codec import decode_jpeg, encode_jpeg

logger = logging.getLogger(__name__)

_FAMILY = "posec3d"
_FRAMES = 72
_MOST_FRAMES = 1000
_QUALITY = 95
"""Of pictures that wait: they may be encoded once more further on."""


class _Window:
    """The frames of one channel that wait, and the points of those that count."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.points: list[Points] = []

    def add(self, frame: Frame) -> None:
        """The next frame; one that is only passed on waits in its place, and does not count."""
        if not frame.skipped:
            self.points.append(coco_points(frame.poses))
        self.frames.append(_shrunk(frame))


class PoseC3DElement(Element):
    """Gives all frames of a window the action that was seen in it; a frame's earlier recognitions go."""

    wants_skipped = True
    keeps_frames = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        self._frames = read_count(context, "frames_num", default=_FRAMES, least=1, most=_MOST_FRAMES)
        self._clips = read_count(context, "clips_num", default=DEFAULT_CLIPS, least=1, most=100)
        if "class_names_file" not in context.configure:
            raise context.error("class_names_file", "is missing", cure="name a file with one action a line")
        self._names = read_names(context)
        self._windows: dict[int, _Window] = {}
        self._network: PoseC3D | None = None
        self._warned = False

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = find_model(self.context, self._model_path, families=[_FAMILY])
        network = load_network(self.context, found, PoseC3D.load, clip_count=2 * self._clips)
        if network.class_count is not None:
            self._check_names(network.class_count)
        self._network = network
        self.context.report("actions", network.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Holds the frame back; the last of a window lets all of it go."""
        if frame.discontinuity:
            self._let_go(frame.channel_id, emit)
        window = self._windows.setdefault(frame.channel_id, _Window())
        try:
            window.add(frame)
        except ValueError as e:
            raise self._wrong_poses(e) from e
        if len(window.points) == self._frames:
            self._let_go(frame.channel_id, emit)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """What is left of the channel is a window too, a shorter one."""
        self._let_go(frame.channel_id, emit)
        emit(frame)

    def close(self) -> None:
        """Drops what waits, and lets the network go."""
        self._windows.clear()
        self._network = None

    def _let_go(self, channel_id: int, emit: Emit) -> None:
        window = self._windows.pop(channel_id, None)
        if window is None:
            return
        action = self._action(window)
        for frame in window.frames:
            frame.recognitions = action
            emit(frame)

    def _action(self, window: _Window) -> tuple[Recognition, ...]:
        """What is done in a window; nothing where nobody was seen."""
        if not any(len(points) for points, _ in window.points):
            self._warn_without_poses(window)
            return ()
        assert self._network is not None
        picture = next(frame.picture for frame in window.frames if frame.picture is not None)
        shares = self._network.classify(window.points, picture.size_wh, after_each_run=self.context.alive)
        self._check_names(len(shares))
        best = int(shares.argmax())
        return (Recognition(label=self._names[best], scores=(float(shares[best]),)),)

    def _check_names(self, class_count: int) -> None:
        if class_count != len(self._names):
            raise self.context.error(
                "class_names_file", f"has {len(self._names)} names, the model has {class_count} classes"
            )

    def _wrong_poses(self, error: ValueError) -> GraphError:
        return self.context.error(
            "ports", str(error), cure="put fastpose with 17 or 26 points, yolov8 Pose or openpose before it"
        )

    def _warn_without_poses(self, window: _Window) -> None:
        if not self._warned and any(len(frame.detections) for frame in window.frames):
            self._warned = True
            logger.warning(
                "%s: element %d: objects, but no poses in %d frames; posec3d needs fastpose before it",
                self.context.config_file,
                self.context.element_id,
                len(window.frames),
            )


def _shrunk(frame: Frame) -> Frame:
    """The frame with its pictures, and those of its parts, as JPEGs that are decoded when somebody asks."""
    frame.picture, frame.drawing = _as_jpeg(frame.picture), _as_jpeg(frame.drawing)
    for part in frame.sub_frames:
        _shrunk(part)
    return frame


def _as_jpeg(picture: Picture | None) -> Picture | None:
    if picture is None:
        return None
    data = encode_jpeg(picture.bgr, quality=_QUALITY)
    return Picture(picture.size_wh, functools.partial(decode_jpeg, data))


ELEMENT = PoseC3DElement
