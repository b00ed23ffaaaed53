"""``distributor``: cuts parts out of frames and sends each class of them its own way (CONTRACT 3.6).

First the parts leave, then, at ``default_port``, the frame itself. A converger puts them together again.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.objects import Face
from streamserver.core.picture import Picture
from streamserver.core.results import WHOLE_FRAME
from streamserver.elements._model import read_flag, read_names
from streamserver.elements._routes import FULL_FRAME, classes_of, read_port, read_rules
from streamserver.engine.element import ElementContext, Emit, SplittingElement
from streamserver.engine.frame import Frame
from streamserver.vision.crop import (
    FACE_SIZE_WH,
    align_face,
    are_face_points,
    clip_box,
    is_quad,
    is_tall,
    quad_size_wh,
    warp_quad,
)

logger = logging.getLogger(__name__)

_next_ticket = itertools.count(1).__next__

_TEXT_LINE = "ppocr"
"""The class name by which CONTRACT 3.6 knows lines of text, which may run downwards."""


class Distributor(SplittingElement):
    """Sends out parts as the rules say; remembers, for each channel, when rules of time fired last."""

    def __init__(self, context: ElementContext, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(context)
        self._clock = clock
        self.through_port = read_port(context, context.configure, "default_port", "default_port")
        if context.output_ports and self.through_port not in context.output_ports:
            raise context.error("default_port", f"output port {self.through_port} is not connected")
        read_flag(context, "is_affine", default=True)
        self._rules = read_rules(context, self.through_port)
        self._names = self._read_names()
        self._fired: dict[int, dict[float, float]] = {}
        self._warned: set[int] = set()

    def process(self, frame: Frame, emit: Emit) -> None:
        """Emits the parts that are due, then the frame."""
        if frame.discontinuity:
            self._fired.pop(frame.channel_id, None)
        ports = self._ports_now(frame)
        given = [(port, part) for name, part in self._parts(frame, ports) for port, part in _copies(part, ports[name])]
        if given:
            self._announce(frame, given)
        for port, part in given:
            emit(part, port=port)
        emit(frame, port=self.through_port)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._fired.pop(frame.channel_id, None)
        emit(frame)

    def _announce(self, frame: Frame, given: list[tuple[int, Frame]]) -> None:
        """Notes in the frame and its parts who belongs to whom and who waits for whom where."""
        frame.ticket = frame.ticket or _next_ticket()
        for port, part in given:
            part.branch_of, part.ticket, part.returns_to = frame.ticket, _next_ticket(), self.returns.get(port)
        waiting = Counter(frame.parts_out)
        waiting.update(part.returns_to for _, part in given if part.returns_to is not None)
        frame.parts_out = dict(waiting)
        frame.sub_frames = [*frame.sub_frames, *(part for _, part in given)]

    def _ports_now(self, frame: Frame) -> dict[str, list[int]]:
        """To which ports each class goes now; rules of time that are due have then fired."""
        now = self._clock()
        ports: dict[str, set[int]] = {}
        for rule in self._rules:
            if rule.time_s is not None:
                fired = self._fired.setdefault(frame.channel_id, {})
                if now - fired.get(rule.time_s, float("-inf")) <= rule.time_s:
                    continue
                fired[rule.time_s] = now
            elif frame.frame_id % rule.frames:
                continue
            for name, port in rule.ports.items():
                ports.setdefault(name, set()).add(port)
        return {name: sorted(numbers) for name, numbers in ports.items()}

    def _parts(self, frame: Frame, ports: dict[str, list[int]]) -> Iterator[tuple[str, Frame]]:
        """Faces, objects and the frame as a whole, each of a class that has ports, with its name; not yet sent."""
        assert frame.picture is not None
        for row, face in enumerate(frame.faces):
            if self._names and self._names[0] in ports and (cut := _cut_face(frame.picture, face)):
                yield self._names[0], _part(frame, cut, row)
        for row, class_id in enumerate(frame.detections.class_ids.tolist()):
            name = self._name_of(class_id)
            if name in ports and (cut := _cut_object(frame, row, turn_tall=name == _TEXT_LINE)):
                part = _part(frame, cut, len(frame.faces) + row)
                part.track_id = int(frame.detections.track_ids[row])
                yield name, part
        if FULL_FRAME in ports:
            yield FULL_FRAME, _part(frame, frame.picture, WHOLE_FRAME)

    def _name_of(self, class_id: int) -> str:
        """The class's name; empty for one that has none, which is said once."""
        if not self._classifies:
            return ""
        if 0 <= class_id < len(self._names):
            return self._names[class_id]
        if class_id not in self._warned:
            self._warned.add(class_id)
            self._warn(f"class_names_file names {len(self._names)} classes, and class {class_id} is none of them; "
                       "objects of that class are not given out")  # fmt: skip
        return ""

    def _read_names(self) -> tuple[str, ...]:
        """The class names in the order of the file, which is not looked at where only whole frames are given out.

        Without a file a single name is that of the faces, and objects, whose numbers mean nothing then, stay.
        """
        wanted = sorted(classes_of(self._rules))
        self._classifies = bool(wanted) and "class_names_file" in self.context.configure
        if not self._classifies:
            if len(wanted) > 1:
                cure = "name a file with one class name a line, in class order"
                raise self.context.error("class_names_file", f"is missing; rules name {', '.join(wanted)}", cure=cure)
            if wanted:
                self._warn(f"there is no class_names_file: '{wanted[0]}' means faces, objects are not given out")
            return tuple(wanted)
        names = read_names(self.context)
        lacking = [name for name in wanted if name not in names]
        if lacking:
            self._warn(f"class_names_file does not name {', '.join(lacking)}, so nothing of that is given out")
        return names

    def _warn(self, problem: str) -> None:
        logger.warning("%s: element %d: %s", self.context.config_file, self.context.element_id, problem)


def _part(frame: Frame, picture: Picture, sub_id: int) -> Frame:
    """A frame of its own. It breaks no continuity itself: the engine marks the first on each way after a break."""
    return Frame(
        frame.channel_id,
        frame.graph_id,
        frame.frame_id,
        sequence=frame.sequence,
        loop=frame.loop,
        timestamp_us=frame.timestamp_us,
        clock_s=frame.clock_s,
        picture=picture,
        sub_id=sub_id,
    )


def _copies(part: Frame, ports: list[int]) -> Iterator[tuple[int, Frame]]:
    """The part for the first port, and one like it for each other: what is found in one does not show in another."""
    assert part.picture is not None
    for port in ports:
        one = part if port == ports[0] else _part(part, part.picture, part.sub_id)
        one.track_id = part.track_id
        yield port, one


def _cut_face(picture: Picture, face: Face) -> Picture | None:
    if are_face_points(face.points_xy):
        return Picture(FACE_SIZE_WH, lambda: align_face(picture.bgr, face.points_xy))
    return _cut_box(picture, face.box_xyxy)


def _cut_object(frame: Frame, row: int, *, turn_tall: bool) -> Picture | None:
    """The object's picture; ``None`` when it lies outside of the frame."""
    picture, corners_xy = frame.picture, frame.detections.corners_xy
    assert picture is not None
    if corners_xy is None or not is_quad(corners_xy[row]):
        return _cut_box(picture, frame.detections.boxes_xyxy[row])
    if _lies_outside(corners_xy[row], picture.size_wh):
        return None
    return _cut_quad(picture, corners_xy[row], turn_tall=turn_tall)


def _cut_quad(picture: Picture, corners_xy: FloatArray, *, turn_tall: bool) -> Picture:
    size_wh = quad_size_wh(corners_xy)
    turned_wh = size_wh[::-1] if turn_tall and is_tall(size_wh) else size_wh
    return Picture((turned_wh[0], turned_wh[1]), lambda: warp_quad(picture.bgr, corners_xy, turn_tall=turn_tall))


def _cut_box(picture: Picture, box_xyxy: FloatArray | tuple[float, ...]) -> Picture | None:
    inside = clip_box(box_xyxy, picture.size_wh)
    if inside is None:
        return None
    x1, y1, x2, y2 = inside

    def load() -> ImageBgr:
        return picture.bgr[y1:y2, x1:x2]

    return Picture((x2 - x1, y2 - y1), load)


def _lies_outside(corners_xy: FloatArray, size_wh: tuple[int, int]) -> bool:
    around = (*corners_xy.min(axis=0), *corners_xy.max(axis=0))
    return clip_box(around, size_wh) is None


ELEMENT = Distributor
