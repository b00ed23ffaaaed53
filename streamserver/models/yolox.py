"""YOLOX detectors, in the form of the official ONNX export (Megvii YOLOX, https://github.com/Megvii-BaseDetection/YOLOX)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.geometry.nms import nms
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import Session, open_session
from streamserver.vision.letterbox import Letterbox, LetterboxMap

_STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64))
_DEFAULT_SIDE = 640
_BOX_COLUMNS = 5
"""x, y, width, height and objectness; the classes follow."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """The cells of all strides in the order of the output's rows: corner (n, 2) and stride (n, 1) in pixels."""

    corners_xy: FloatArray
    strides: FloatArray

    @classmethod
    def for_size(cls, size_wh: tuple[int, int], strides: tuple[int, ...]) -> _Grid:
        corners, steps = [], []
        for stride in strides:
            columns, rows = np.meshgrid(np.arange(size_wh[0] // stride), np.arange(size_wh[1] // stride))
            corners.append(np.stack([columns, rows], axis=-1).reshape(-1, 2) * stride)
            steps.append(np.full((columns.size, 1), stride))
        return cls(np.concatenate(corners).astype(np.float32), np.concatenate(steps).astype(np.float32))


class _Buffers(threading.local):
    """The canvas and the network's input, one set a thread, used again for every frame."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.letterbox = Letterbox(size_wh)
        self.blob: FloatArray = np.empty((1, 3, size_wh[1], size_wh[0]), dtype=np.float32)


class YoloX:
    """A YOLOX network. Input size, classes and strides come from the file; may be shared between threads.

    Args:
        session: the loaded file: one input (1, 3, H, W), one output (1, N, 5 + classes).
        normalisation: what the network wants to see; the official export takes pixels as they are, blue first.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.

    Raises:
        ModelError: the file is no YOLOX export; says what was expected and found.
    """

    def __init__(
        self,
        session: Session,
        *,
        normalisation: Normalisation | None = None,
        classes: tuple[int, ...] | None = None,
    ) -> None:
        self._session = session
        self._normalisation = normalisation or Normalisation()
        self.size_wh = _input_size(session)
        self._buffers = _Buffers(self.size_wh)
        sample = self.infer(np.full((1, 3, self.size_wh[1], self.size_wh[0]), 114, dtype=np.float32))
        self._grid, self._decoded = _read_layout(session.name, sample, self.size_wh)
        known = sample.shape[1] - _BOX_COLUMNS
        if classes is not None and (not classes or max(classes) >= known):
            raise ModelError(f"'{session.name}' has {known} classes, asked for numbers {classes}")
        self._columns = None if classes is None else np.array(classes, dtype=np.intp) + _BOX_COLUMNS
        self.class_count = known if classes is None else len(classes)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        threads: int = 1,
        normalisation: Normalisation | None = None,
        classes: tuple[int, ...] | None = None,
    ) -> YoloX:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        session = open_session(path, device=device, threads=threads)
        return cls(session, normalisation=normalisation, classes=classes)

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolox_nano.onnx on CPUExecutionProvider``."""
        return f"{self._session.name} on {self._session.provider}"

    def detect(self, image_bgr: ImageBgr, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """Finds objects in a picture of shape (height, width, 3).

        Args:
            image_bgr: the picture; not written to.
            min_scores: (class_count,), the lowest score that counts for each class.
            iou_threshold: of two boxes that overlap more, whatever their classes, the better one stays.

        Returns:
            Boxes in pixels of the picture, not clipped, best score first.
        """
        blob, mapping = self.preprocess(image_bgr)
        rows = self.infer(blob)
        found = self.postprocess(rows, min_scores=min_scores, iou_threshold=iou_threshold)
        boxes = mapping.boxes_to_picture(found.boxes_xyxy)
        sides = boxes[:, 2:] - boxes[:, :2]
        whole = (sides[:, 0] >= image_bgr.shape[1]) & (sides[:, 1] >= image_bgr.shape[0])
        return Detections.from_arrays(boxes, found.scores, found.class_ids).select(~whole)

    def preprocess(self, image_bgr: ImageBgr) -> tuple[FloatArray, LetterboxMap]:
        """The network's input (1, 3, H, W), valid until this thread's next call, and where the picture is in it."""
        buffers = self._buffers
        canvas, mapping = buffers.letterbox(image_bgr)
        self._normalisation.fill(buffers.blob[0], canvas)
        return buffers.blob, mapping

    def infer(self, blob: FloatArray) -> FloatArray:
        """Runs the network: (1, 3, H, W) to its raw output (N, 5 + classes)."""
        output: FloatArray = self._session.run({self._session.inputs[0].name: blob})[0]
        if output.ndim != 3:
            raise ModelError(
                f"'{self._session.name}' is no YOLOX export: expected output [1, N, 5+classes], got {output.shape}"
            )
        rows: FloatArray = output[0]
        return rows

    def postprocess(self, rows: FloatArray, *, min_scores: FloatArray, iou_threshold: float) -> Detections:
        """Raw output (N, 5 + classes) to detections in pixels of the network's input, best score first."""
        gate = np.flatnonzero(rows[:, 4] >= min_scores.min())
        kept = rows[gate]
        class_scores = kept[:, _BOX_COLUMNS:] if self._columns is None else kept[:, self._columns]
        class_ids = class_scores.argmax(axis=1)
        scores = kept[:, 4] * class_scores[np.arange(len(kept)), class_ids]
        good = scores >= min_scores[class_ids]
        boxes = self._decode(kept[good, :4], gate[good])
        order = nms(boxes, scores[good], iou_threshold=iou_threshold)
        return Detections.from_arrays(boxes, scores[good], class_ids[good]).select(order)

    def _decode(self, raw_xywh: FloatArray, cells: np.ndarray[tuple[int], np.dtype[np.intp]]) -> FloatArray:
        """Rows (n, 4) of the output and the cells they are of, to corners (n, 4)."""
        centers, sizes = raw_xywh[:, :2], raw_xywh[:, 2:]
        if not self._decoded:
            strides = self._grid.strides[cells]
            centers = centers * strides + self._grid.corners_xy[cells]
            sizes = np.exp(sizes) * strides
        return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


def _input_size(session: Session) -> tuple[int, int]:
    """Width and height of the input; 640 where the file leaves them free."""
    shape = session.inputs[0].shape if len(session.inputs) == 1 else ()
    if len(shape) != 4 or shape[0] not in (1, None) or shape[1] != 3 or session.inputs[0].dtype != "tensor(float)":
        found = ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in session.inputs)
        raise ModelError(f"'{session.name}' is no YOLOX export: expected one input [1, 3, H, W] of floats, got {found}")
    return shape[3] or _DEFAULT_SIDE, shape[2] or _DEFAULT_SIDE


def _read_layout(name: str, sample: FloatArray, size_wh: tuple[int, int]) -> tuple[_Grid, bool]:
    """The grid of an output (N, 5 + classes) of a grey picture, and whether the file has decoded the boxes itself.

    Decoded centres spread over the whole input; raw ones are offsets of about a cell.
    """
    grids = [_Grid.for_size(size_wh, strides) for strides in _STRIDE_SETS]
    grid = next((grid for grid in grids if len(grid.strides) == len(sample)), None)
    if grid is None or sample.shape[1] <= _BOX_COLUMNS:
        raise ModelError(
            f"'{name}' is no YOLOX export: for an input of {size_wh[0]}x{size_wh[1]} expected an output of "
            f"{len(grids[0].strides)} rows and 5+classes columns, got {sample.shape[0]} rows and {sample.shape[1]}"
        )
    decoded = bool(np.median(np.abs(sample[:, :2])) > min(size_wh) / 8)
    return grid, decoded
