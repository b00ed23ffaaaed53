"""Finding faces with five points, whatever the network: what the families retinaface and yunet share."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError, StreamServerError
from streamserver.core.model_address import ModelPlace
from streamserver.core.objects import Face
from streamserver.geometry.nms import nms
from streamserver.models.network import PictureNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session
from streamserver.vision.letterbox import Letterbox, LetterboxMap

FAMILIES = ("yunet", "retinaface")
"""Modules of ``streamserver.models`` with a face finder, in the order in which an unknown file is tried."""

STRIDES = (8, 16, 32)
DEFAULT_LONGEST_SIDE = 640
POINTS = 5
_MULTIPLE = 32
"""A side of a free input is a multiple of the coarsest stride, so that every stride's grid fits."""

_CANDIDATES = 5000
"""Of more candidates only the best enter the non-maximum suppression, whose cost grows with their square."""

_LARGEST = 1e4
"""Values beyond this, and those that are no numbers, come from a network that has overflowed."""

_LARGEST_LOG = 8.0
"""Sizes beyond e^8 of a cell are an untrained network's; they are cut so that they do not overflow."""


@dataclass(frozen=True, slots=True)
class FaceRows:
    """Candidates before the suppression, in pixels of the network's input.

    Attributes:
        boxes_xyxy: float32 (n, 4).
        scores: float32 (n,), 0 to 1.
        points_xy: float32 (n, 5, 2) in the order of ``core.objects.Face``.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    points_xy: FloatArray


class _Buffers(threading.local):
    """A thread's canvas and network input, kept while the size of the pictures stays the same."""

    letterbox: Letterbox | None = None
    blob: FloatArray = np.zeros((1, 3, 0, 0), dtype=np.float32)

    def for_size(self, size_wh: tuple[int, int]) -> tuple[Letterbox, FloatArray]:
        if self.letterbox is None or self.letterbox.size_wh != size_wh:
            self.letterbox = Letterbox(size_wh, pad=0)
            self.blob = np.empty((1, 3, size_wh[1], size_wh[0]), dtype=np.float32)
        return self.letterbox, self.blob


class FaceFinder(ABC):
    """A network that finds faces; may be shared between threads.

    A picture is scaled into the input's top left corner, the rest is black. Where the file leaves the input's size
    free, each picture gets one of its own proportions, never larger than itself but for the last few pixels.

    Args:
        session: the loaded file.
        normalisation: what the network wants to see; ``None`` for ``usual``. One that takes whole numbers (uint8, int8)
            brings its own scale: for it only the order of the channels counts.
        longest_side: of a free input, in pixels.

    Raises:
        ModelError: the file is none of the family; says what was expected and found.
    """

    family: str
    """The module's name."""

    usual = Normalisation()
    """What networks of the family want to see unless somebody says otherwise."""

    nms_margin_px = 0.0
    """Added to widths and heights where overlaps are measured."""

    def __init__(
        self,
        session: Session,
        *,
        normalisation: Normalisation | None = None,
        longest_side: int = DEFAULT_LONGEST_SIDE,
    ) -> None:
        self._longest_side = longest_side
        self._network = PictureNetwork(session, default_size_wh=(longest_side, longest_side))
        if self._network.input.channels != len("bgr"):
            raise self.refusal(f"an input of 3 channels, got {self._network.input.channels}")
        self.normalisation = self._network.input.takes(normalisation or self.usual)
        self._buffers = _Buffers()
        size_wh = self.input_size((longest_side, longest_side * 3 // 4))
        self.learn_layout(self._network.run(np.full((1, 3, *size_wh[::-1]), 104, dtype=np.float32)), size_wh)

    @abstractmethod
    def learn_layout(self, outputs: Sequence[npt.NDArray[Any]], size_wh: tuple[int, int]) -> None:
        """Finds out from the outputs for a grey picture which of them is what; raises ``refusal`` if none fits."""

    @abstractmethod
    def decode(self, outputs: Sequence[npt.NDArray[Any]], *, size_wh: tuple[int, int], min_score: float) -> FaceRows:
        """The outputs for one picture in an input of ``size_wh`` to all candidates from ``min_score`` on."""

    @property
    def name(self) -> str:
        """The file's name."""
        return self._network.name

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yunet_n_dynamic.onnx on CPUExecutionProvider``."""
        return self._network.description

    def find(self, image_bgr: ImageBgr, *, min_score: float, iou_threshold: float, max_count: int) -> tuple[Face, ...]:
        """Finds faces in a picture (height, width, 3).

        Args:
            image_bgr: the picture; not written to.
            min_score: the lowest score that counts.
            iou_threshold: of two boxes that overlap more, the better one stays.
            max_count: so many of the best are given.

        Returns:
            Faces in pixels of the picture, not clipped, best score first.
        """
        outputs, mapping, size_wh = self.look(image_bgr)
        found = self.decode(outputs, size_wh=size_wh, min_score=min_score)
        best = self.best(found, iou_threshold=iou_threshold, max_count=max_count)
        boxes = mapping.boxes_to_picture(best.boxes_xyxy)
        points = mapping.points_to_picture(best.points_xy)
        return tuple(
            Face((float(x1), float(y1), float(x2), float(y2)), float(score), face_points)
            for (x1, y1, x2, y2), score, face_points in zip(boxes, best.scores, points, strict=True)
        )

    def look(self, image_bgr: ImageBgr) -> tuple[list[npt.NDArray[Any]], LetterboxMap, tuple[int, int]]:
        """The raw outputs for a picture, where the picture was in the input, and the input's width and height."""
        size_wh = self.input_size((image_bgr.shape[1], image_bgr.shape[0]))
        letterbox, blob = self._buffers.for_size(size_wh)
        canvas, mapping = letterbox(image_bgr)
        self.normalisation.fill(blob[0], canvas)
        return self._network.run(blob), mapping, size_wh

    def input_size(self, picture_wh: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the network's input for a picture of some size; what the file says goes."""
        fixed_w, fixed_h = self._network.input.size_wh
        shrink = min(1.0, self._longest_side / max(picture_wh))
        chosen_w, chosen_h = (-(-max(1, round(side * shrink)) // _MULTIPLE) * _MULTIPLE for side in picture_wh)
        return fixed_w or chosen_w, fixed_h or chosen_h

    def best(self, rows: FaceRows, *, iou_threshold: float, max_count: int) -> FaceRows:
        """Of candidates that overlap the best, and of these ``max_count``, best score first."""
        order = np.argsort(-rows.scores, kind="stable")[:_CANDIDATES]
        grown = rows.boxes_xyxy[order] + np.array([0, 0, self.nms_margin_px, self.nms_margin_px], dtype=np.float32)
        kept = order[nms(grown, rows.scores[order], iou_threshold=iou_threshold)[:max_count]]
        return FaceRows(rows.boxes_xyxy[kept], rows.scores[kept], rows.points_xy[kept])

    def refusal(self, expected: str) -> ModelError:
        """An error for a file that is none of the family."""
        return ModelError(f"'{self._network.name}' is no {self.family} face detector: expected {expected}")


def load_face_finder(
    path: ModelPlace,
    *,
    family: str | None,
    device: str = "auto",
    threads: int = 1,
    normalisation: Normalisation | None = None,
    longest_side: int = DEFAULT_LONGEST_SIDE,
) -> FaceFinder:
    """Opens an ONNX file.

    Args:
        path: the file.
        family: one of ``FAMILIES``; ``None`` for the first that can read the file.
        device: see ``open_session``.
        threads: see ``open_session``.
        normalisation: see ``FaceFinder``.
        longest_side: see ``FaceFinder``.

    Raises:
        ModelError: the file is none of the family, or of no family; says why.
    """
    session = open_session(path, device=device, threads=threads)
    problems = []
    for name in FAMILIES if family is None else (family,):
        finder: type[FaceFinder] = importlib.import_module(f"streamserver.models.{name}").FINDER
        try:
            return finder(session, normalisation=normalisation, longest_side=longest_side)
        except ModelError as e:
            problems.append(e.message)
    raise ModelError("; ".join(dict.fromkeys(problems)))


def suggest_finder(
    kind: type[FaceFinder], session: Session, *, layout: str, configure: Mapping[str, Any], note: str
) -> Suggestion | None:
    """How to run a file of one family; ``None`` for one that is not of it."""
    try:
        finder = kind(session)
    except StreamServerError:
        return None
    free = None in session.inputs[0].shape
    size = "any size" if free else "x".join(map(str, finder.input_size((DEFAULT_LONGEST_SIDE, DEFAULT_LONGEST_SIDE))))
    return Suggestion(
        element="retinaface", layout=f"{layout}, {size}", configure=configure, notes=(note,), certainty=0.95
    )


def candidate_rows(
    scores: FloatArray, boxes_cxcywh: FloatArray, points: FloatArray, *, min_score: float
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """The rows that count: those from ``min_score`` on that hold sensible numbers.

    Args:
        scores: (n,).
        boxes_cxcywh: (n, 4), raw.
        points: (n, 10), raw.
        min_score: the lowest score that counts.

    Returns:
        Row numbers (k,) and their scores (k,).
    """
    rows = np.flatnonzero(scores >= min_score)
    sound = (np.abs(boxes_cxcywh[rows]) < _LARGEST).all(axis=1) & (np.abs(points[rows]) < _LARGEST).all(axis=1)
    rows = rows[sound]
    return rows, scores[rows]


def grown_sizes(raw: FloatArray, unit: FloatArray) -> FloatArray:
    """Sizes (n, 2) in pixels from their logarithms in units of ``unit``, which broadcasts to them."""
    sizes: FloatArray = np.exp(np.minimum(raw, _LARGEST_LOG)) * unit
    return sizes


def corners(centres_xy: FloatArray, sizes_wh: FloatArray) -> FloatArray:
    """Boxes (n, 4) from their centres and sizes (n, 2)."""
    return np.concatenate([centres_xy - sizes_wh / 2, centres_xy + sizes_wh / 2], axis=1)


def as_rows(output: npt.NDArray[Any], count: int, *, grid_wh: tuple[int, int] | None = None) -> FloatArray | None:
    """An output of one picture as (count, columns), wherever the file has put its columns.

    Args:
        output: (1, count, columns), (1, columns, count), also without the 1, or a map (1, columns, h, w).
        count: the rows that it must have.
        grid_wh: width and height of a map of ``count`` cells; ``None`` where there can be none.

    Returns:
        ``None`` where it has not.
    """
    if output.dtype != np.float32 or output.size == 0 or output.size % count:
        return None
    columns = output.size // count
    if grid_wh is not None and output.ndim == len("nchw"):
        return output.reshape(columns, count).T if output.shape[2:] == grid_wh[::-1] else None
    sides = [side for side in output.shape if side != 1]
    if count == 1 or sides[0] == count:
        return output.reshape(count, columns)
    if sides == [columns, count]:
        return output.reshape(columns, count).T
    return None


def grid_cells(size_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Columns and rows of a stride's grid over an input."""
    return -(-size_wh[0] // stride), -(-size_wh[1] // stride)


def shapes_of(outputs: Sequence[npt.NDArray[Any]]) -> str:
    """The shapes of a network's outputs in words."""
    return ", ".join(str(list(output.shape)) for output in outputs)
