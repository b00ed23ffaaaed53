"""YOLOv8 networks and those that write their results down alike (YOLOv5u, v9, v10, 11, 12, 26), for all five tasks.

Read as Ultralytics' ONNX exporter and the usual converters write them; which layout a file has is found when it is
loaded, see ``_yolov8_layout``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections, FloatArray, IntArray
from streamserver.core.errors import ModelError, StreamServerError
from streamserver.core.objects import Pose, Recognition, TurnedBox
from streamserver.core.picture import Pixels, size_wh_of
from streamserver.geometry.boxes import cxcywh_to_xyxy
from streamserver.geometry.nms import nms
from streamserver.geometry.rotated import rotated_nms
from streamserver.models._yolov8_heads import Candidates, CellHead, EndToEndHead, Head, Task
from streamserver.models._yolov8_layout import (
    Sample,
    class_scores,
    find_head,
    find_prototypes,
    has_points,
    mask_axis,
    task_of,
    within_unit,
)
from streamserver.models._yolov8_masks import cut_segment
from streamserver.models.detector import Found, Reading, choose_classes, choose_names
from streamserver.models.letterboxed import DEFAULT_SIDE, LetterboxedNetwork
from streamserver.models.network import Outputs
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.models.ultralytics import ExportNotes
from streamserver.runtime.session import Session
from streamserver.vision.letterbox import LetterboxMap

logger = logging.getLogger(__name__)

MAX_OBJECTS = 300
"""More are not reported of one picture (CONTRACT 3.2)."""

USUAL = Normalisation.from_mean_std(mean=0, std=255, rgb=True)
"""What all official networks take: red first, 0 to 1."""

_CLASSIFIER_SIDE = 224
_OPTIONS = ("task_type", "keypoints")
_COCO_POINTS = 17
_COCO_CLASSES = 80


class YoloV8:
    """A network of one task; may be shared between threads.

    Args:
        session: the loaded file.
        reading: what is said of the file. ``options``: ``task_type``, one of ``Task``, ``Detect`` if absent;
            ``keypoints``, number and form (2 or 3 numbers) of the key points, e.g. ``[17, 3]``, where the file does
            not say.

    Attributes:
        class_count: classes it can report; 0 where the file does not say (end to end without names).
        class_names: their names, where the file says them.
        layout: how the file writes its results down, in words.
        batch_size: pictures that are worth giving to ``look_many`` at once.

    Raises:
        ModelError: the file is for another task, or has no known layout; says what was expected and found.
    """

    def __init__(self, session: Session, reading: Reading | None = None) -> None:
        reading = reading or Reading()
        self.task, keypoints = _read_options(session.name, reading.options)
        self._network = _network(session, self.task, reading.normalisation)
        self.batch_size = self._network.batch_size
        sample = _sample(self._network, keypoints)
        self._head: Head | None = find_head(sample, self.task)
        self._prototypes = find_prototypes(sample) if self.task is Task.SEG else None
        self.layout = _layout(sample, self._head)
        if isinstance(self._head, CellHead) and self._head.grid is None and not _are_pixels(sample, self._head):
            logger.warning(
                "'%s' is read as YOLOv8, but the middles of its boxes are no pixels: if nothing is found, "
                "'python -m streamserver.models inspect %s' says what else it may be",
                session.name,
                session.name,
            )
        scores = class_scores(sample)
        known = self._head.columns.classes if self._head else 0 if scores is None else scores.shape[1]
        self._wanted = choose_classes(session.name, reading.classes, known)
        self.class_count = known if self._wanted is None else len(self._wanted)
        self.class_names = choose_names(sample.notes.names, self._wanted)

    @property
    def description(self) -> str:
        """What runs where, e.g. ``yolov8s.onnx on CPUExecutionProvider``."""
        return self._network.description

    def look(self, pixels: Pixels, *, min_scores: FloatArray, iou_threshold: float) -> Found:
        """Finds objects, or says what the picture shows (``Cls``, whatever the scores); see ``Detector.look``."""
        return self.look_many([pixels], min_scores=min_scores, iou_threshold=iou_threshold)[0]

    def look_many(self, pictures: Sequence[Pixels], *, min_scores: FloatArray, iou_threshold: float) -> list[Found]:
        """Does so for some pictures; see ``Detector.look_many``."""
        return [
            self.read(
                outputs,
                mapping,
                picture_wh=size_wh_of(pixels),
                min_scores=min_scores,
                iou_threshold=iou_threshold,
            )
            for pixels, (outputs, mapping) in zip(pictures, self._network.look(pictures), strict=True)
        ]

    def read(
        self,
        outputs: Outputs,
        mapping: LetterboxMap,
        *,
        picture_wh: tuple[int, int],
        min_scores: FloatArray,
        iou_threshold: float,
    ) -> Found:
        """What the network's outputs say of one picture.

        Args:
            outputs: one array for each output of the file.
            mapping: where the picture is in the network's input.
            picture_wh: its width and height in pixels.
            min_scores: as for ``look``.
            iou_threshold: as for ``look``.
        """
        if self._head is None:
            return Found(recognitions=(self._recognise(outputs),))
        found = self._head.candidates(outputs, min_scores=min_scores, wanted=self._wanted).finite()
        rows = self._suppress(found, iou_threshold)
        boxes = mapping.boxes_to_picture(cxcywh_to_xyxy(found.boxes_cxcywh[rows]).astype(np.float32))
        scores, extras = found.scores[rows], found.extras[rows]
        if self.task is Task.OBB:
            return Found(turned_boxes=_turned_boxes(boxes, scores, found.class_ids[rows], extras))
        detections = Detections.from_arrays(boxes, scores, found.class_ids[rows])
        if self.task is Task.POSE:
            return Found(detections, poses=_poses(extras, scores, self._head.columns.keypoints, mapping))
        if self._prototypes is None:
            return Found(detections)
        prototypes = _first_masks(outputs[self._prototypes], self._network.size_wh)
        cut = [
            cut_segment(
                weights, prototypes, box, picture_wh=picture_wh, network_wh=self._network.size_wh, mapping=mapping
            )
            for weights, box in zip(extras, boxes, strict=True)
        ]
        return Found(detections, segments=tuple(cut))

    def _suppress(self, found: Candidates, iou_threshold: float) -> npt.NDArray[np.intp]:
        """The rows that stay, best first."""
        if found.suppressed:
            return np.argsort(-found.scores, kind="stable")[:MAX_OBJECTS]
        if self.task is Task.OBB:
            turned = np.hstack([found.boxes_cxcywh, found.extras])
            return rotated_nms(
                turned, found.scores, iou_threshold=iou_threshold, class_ids=found.class_ids, most=MAX_OBJECTS
            )
        boxes = cxcywh_to_xyxy(found.boxes_cxcywh)
        return nms(boxes, found.scores, iou_threshold=iou_threshold, class_ids=found.class_ids)[:MAX_OBJECTS]

    def _recognise(self, outputs: Outputs) -> Recognition:
        scores = outputs[0].reshape(-1) if self._wanted is None else outputs[0].reshape(-1)[self._wanted]
        best = int(scores.argmax())
        return Recognition(scores=(float(scores[best]),), class_ids=(best,))


def load(session: Session, reading: Reading) -> YoloV8:
    """The detector of a file; see ``YoloV8``."""
    return YoloV8(session, reading)


def suggest(session: Session) -> Suggestion | None:
    """How the yolov8 element would read a file; ``None`` when it cannot."""
    try:
        notes = ExportNotes.from_metadata(session.metadata)
        noted = task_of(notes)
        network = _network(session, noted or Task.DETECT, None)
        sample = _sample(network, None)
    except StreamServerError:
        return None
    for task in [noted] if noted else [Task.SEG, Task.DETECT, Task.POSE, Task.OBB, Task.CLS]:
        try:
            head = find_head(sample, task)
        except ModelError:
            continue
        certainty = 0.95 if noted else _certainty(sample, head, task)
        if certainty > 0:
            return _suggestion(sample, head, task, network, certainty)
    return None


def _suggestion(
    sample: Sample, head: Head | None, task: Task, network: LetterboxedNetwork, certainty: float
) -> Suggestion:
    configure: dict[str, Any] = {} if task is Task.DETECT else {"task_type": str(task)}
    configure |= {
        "threshold_conf": 0.25 if task is Task.OBB else 0.5,
        "threshold_nms": 0.7 if task is Task.OBB else 0.5,
    }
    configure |= {"bgr2rgb": True, "mean": [0, 0, 0], "std": [255, 255, 255]}
    notes = []
    if not np.issubdtype(network.network.input.dtype, np.floating):
        notes.append("takes whole numbers: it gets pixels as they are, whatever 'mean' and 'std' say")
    if not sample.notes.task:
        notes.append("the file does not say its task: it was told from the numbers it gives")
    if head is not None and not head.columns.classes:
        notes.append("the file does not say how many classes there are")
    return Suggestion(
        element="yolov8",
        layout=f"{task}, {_layout(sample, head)}",
        configure=configure,
        notes=tuple(notes),
        certainty=certainty,
    )


def _certainty(sample: Sample, head: Head | None, task: Task) -> float:
    """How sure one can be of a file without metadata; 0 for what another family is far likelier to have made."""
    if head is None:
        scores = class_scores(sample)
        sure = scores is not None and scores.shape[1] > 1 and within_unit(scores) and abs(scores[0].sum() - 1) < 1e-2
        return 0.2 if sure else 0.0
    if isinstance(head, EndToEndHead):
        return 0.8 if task is not Task.POSE or head.columns.keypoints[0] == _COCO_POINTS else 0.0
    assert isinstance(head, CellHead)
    if head.grid is not None:
        anchors = task is Task.DETECT and (head.columns.classes + 4 * head.bins) % 3 == 0
        return 0.3 if anchors and head.columns.classes != _COCO_CLASSES else 0.7
    if task is Task.POSE and not has_points(sample, head.rows(sample.outputs)):
        return 0.0
    if not _are_pixels(sample, head):
        return 0.0
    usual = "transposed" not in head.words or (task is Task.DETECT and head.columns.classes == _COCO_CLASSES)
    return 0.92 if usual else 0.4


def _are_pixels(sample: Sample, head: CellHead) -> bool:
    """Whether the middles of boxes are pixels, all over the picture; those of a YOLOX are offsets within a cell."""
    middles = head.rows(sample.outputs)[:, :2]
    return bool(np.median(np.abs(middles)) > min(sample.size_wh) / 8)


def _layout(sample: Sample, head: Head | None) -> str:
    if head is not None:
        return head.words
    return f"{sample.shapes}: one score a class"


def _network(session: Session, task: Task, normalisation: Normalisation | None) -> LetterboxedNetwork:
    side = _CLASSIFIER_SIDE if task is Task.CLS else DEFAULT_SIDE
    size_wh = ExportNotes.from_metadata(session.metadata).size_wh or (side, side)
    return LetterboxedNetwork(session, normalisation=normalisation or USUAL, default_size_wh=size_wh)


def _sample(network: LetterboxedNetwork, keypoints: tuple[int, int] | None) -> Sample:
    return Sample(
        name=network.name,
        outputs=network.run_on_grey(),
        size_wh=network.size_wh,
        notes=ExportNotes.from_metadata(network.network.session.metadata),
        keypoints=keypoints,
    )


def _read_options(name: str, options: Mapping[str, Any]) -> tuple[Task, tuple[int, int] | None]:
    unknown = [key for key in options if key not in _OPTIONS]
    if unknown:
        raise ModelError(f"'{name}': option '{unknown[0]}' is unknown", cure=f"use {', '.join(_OPTIONS)}")
    value = options.get("task_type", Task.DETECT)
    if value not in list(Task):
        raise ModelError(f"'{name}': option task_type: got {value!r}", cure=f"use one of {', '.join(Task)}")
    points = options.get("keypoints")
    if points is None:
        return Task(value), None
    good = isinstance(points, list | tuple) and len(points) == 2 and points[1] in (2, 3)
    if not good or not isinstance(points[0], int) or points[0] < 1:
        raise ModelError(f"'{name}': option keypoints: expected their number, then 2 or 3, got {points!r}")
    return Task(value), (points[0], points[1])


def _turned_boxes(
    boxes_xyxy: FloatArray, scores: FloatArray, class_ids: IntArray, angles: FloatArray
) -> tuple[TurnedBox, ...]:
    """From (n, 4) boxes before they are turned, in pixels of the picture."""
    centres, sizes = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    rows = zip(
        centres.tolist(), sizes.tolist(), angles[:, 0].tolist(), scores.tolist(), class_ids.tolist(), strict=True
    )
    return tuple(
        TurnedBox((centre[0], centre[1]), (size[0], size[1]), angle, score, class_id)
        for centre, size, angle, score, class_id in rows
    )


def _poses(
    extras: FloatArray, scores: FloatArray, keypoints: tuple[int, int], mapping: LetterboxMap
) -> tuple[Pose, ...]:
    """From (n, k * numbers) in pixels of the network's input; joints without a score have their person's."""
    count, numbers = keypoints
    points = extras.reshape(len(extras), count, numbers)
    places = mapping.points_to_picture(points[..., :2])
    sure = points[..., 2:] if numbers == 3 else np.broadcast_to(scores[:, None, None], (len(points), count, 1))
    return tuple(Pose(keypoints) for keypoints in np.concatenate([places, sure], axis=2).astype(np.float32))


def _first_masks(output: npt.NDArray[Any], size_wh: tuple[int, int]) -> FloatArray:
    """The prototypes of the first picture, (masks, h, w)."""
    masks: FloatArray = output[0] if mask_axis(output.shape, size_wh) == 1 else output[0].transpose(2, 0, 1)
    return masks
