"""What a detector of any family is told of its file, what it offers, and what it finds in one picture."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from streamserver.core.arrays import Detections, FloatArray, IntArray
from streamserver.core.errors import ModelError
from streamserver.core.model_address import ModelPlace
from streamserver.core.objects import Pose, Recognition, Segment, TurnedBox
from streamserver.core.picture import Pixels
from streamserver.models.normalisation import Normalisation
from streamserver.models.store import inspect_cure
from streamserver.runtime.session import Session, open_session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found; positions are pixels of the picture, not clipped.

    ``poses`` and ``segments``, if there are any, are parallel to ``detections``, best score first.
    """

    detections: Detections = field(default_factory=Detections.empty)
    poses: tuple[Pose, ...] = ()
    segments: tuple[Segment, ...] = ()
    turned_boxes: tuple[TurnedBox, ...] = ()
    recognitions: tuple[Recognition, ...] = ()

    def moved(self, x: int, y: int) -> Found:
        """The same in a picture of which this one was a part that begins at ``x``, ``y``."""
        if x == 0 == y:
            return self
        corner = np.array([x, y], dtype=np.float32)
        corners = self.detections.corners_xy
        detections = dataclasses.replace(
            self.detections,
            boxes_xyxy=self.detections.boxes_xyxy + np.tile(corner, 2),
            corners_xy=None if corners is None else corners + corner,
        )
        return dataclasses.replace(
            self,
            detections=detections,
            poses=tuple(_moved_pose(pose, corner) for pose in self.poses),
            segments=tuple(
                dataclasses.replace(s, left_top_xy=(s.left_top_xy[0] + x, s.left_top_xy[1] + y)) for s in self.segments
            ),
            turned_boxes=tuple(
                dataclasses.replace(b, center_xy=(b.center_xy[0] + x, b.center_xy[1] + y)) for b in self.turned_boxes
            ),
        )

    def select(self, rows: Any) -> Found:
        """What belongs to some rows of ``detections`` (a boolean mask); the rest of the lists stays."""
        keep = np.flatnonzero(rows)
        return dataclasses.replace(
            self,
            detections=self.detections.select(keep),
            poses=tuple(self.poses[i] for i in keep) if self.poses else (),
            segments=tuple(self.segments[i] for i in keep) if self.segments else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What configs/models.yaml or the keys of an element say of a file, beside what the file itself says.

    Attributes:
        normalisation: what the network wants to see; ``None`` for what is usual in the family.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.
        options: what else the family must know: ``options`` in configs/models.yaml, or keys of the element.
    """

    normalisation: Normalisation | None = None
    classes: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Detector(Protocol):
    """A loaded network of any detector family; may be shared between threads."""

    class_count: int
    """Classes it can report, numbered from 0; 0 where the file does not say."""

    class_names: tuple[str, ...]
    """Their names, where the file says them; else empty."""

    layout: str
    """How the file writes down what it found, in words."""

    batch_size: int
    """Pictures that are worth giving to ``look_many`` at once."""

    @property
    def description(self) -> str:
        """What runs where."""

    def look(self, pixels: Pixels, *, min_scores: FloatArray, iou_threshold: float) -> Found:
        """Finds objects in a picture.

        Args:
            pixels: planes, or BGR (height, width, 3); not written to. A family of texts (ppocr_det) wants BGR.
            min_scores: (class_count,), the lowest score that counts for each class; (1,) where ``class_count`` is 0.
            iou_threshold: of two boxes that overlap more, the better one stays.
        """

    def look_many(self, pictures: Sequence[Pixels], *, min_scores: FloatArray, iou_threshold: float) -> list[Found]:
        """What ``look`` finds in each of some pictures, which may be of different sizes."""


def load_detector(
    path: ModelPlace,
    *,
    family: str,
    device: str = "auto",
    threads: int = 1,
    normalisation: Normalisation | None = None,
    classes: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Detector:
    """Opens an ONNX file with ``load(session, reading)`` of the module ``streamserver.models.<family>``.

    Args:
        path: the file.
        family: one of the detector families.
        device: see ``open_session``.
        threads: see ``open_session``.
        normalisation: see ``Reading``.
        classes: see ``Reading``.
        options: see ``Reading``.

    Raises:
        ModelError: the file is none of the family; says which layouts were expected and what was found.
    """
    load: Callable[[Session, Reading], Detector] = importlib.import_module(f"streamserver.models.{family}").load
    reading = Reading(normalisation=normalisation, classes=classes, options=options or {})
    session = open_session(path, device=device, threads=threads)
    try:
        detector = load(session, reading)
    except ModelError as e:
        raise type(e)(e.message, cure=e.cure or inspect_cure(path)) from e
    count = detector.class_count
    said = f"{count} class{'es' * (count != 1)}" if count else "it does not say how many classes"
    logger.info("'%s' is read as %s: %s; %s", path.name, family, detector.layout, said)
    return detector


def choose_classes(name: str, classes: Sequence[int] | None, known: int) -> IntArray | None:
    """The class numbers to report (``None``: all) as an array; ``known`` is how many the file has, 0 for unknown.

    Raises:
        ModelError: the file has not all of them; names it.
    """
    if classes is None:
        return None
    if not classes or (known and max(classes) >= known):
        raise ModelError(f"'{name}' has {known} classes, asked for numbers {tuple(classes)}")
    return np.array(classes, dtype=np.int64)


def choose_names(names: tuple[str, ...], wanted: IntArray | None) -> tuple[str, ...]:
    """The names of the classes that are reported; none of none."""
    return names if wanted is None or not names else tuple(names[number] for number in wanted)


def renumber(class_ids: IntArray, wanted: IntArray | None) -> IntArray:
    """Where each of a file's class numbers stands in ``wanted``, -1 where it does not; as they are for ``None``."""
    if wanted is None:
        return class_ids
    same = class_ids[:, None] == wanted[None, :]
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _moved_pose(pose: Pose, corner: FloatArray) -> Pose:
    keypoints = pose.keypoints.copy()
    seen = keypoints[:, 2] > 0 if keypoints.shape[1] > 2 else np.ones(len(keypoints), dtype=np.bool_)
    keypoints[seen, :2] += corner
    return dataclasses.replace(pose, keypoints=keypoints)
