"""What a detector of any family finds in one picture, and what all of them offer."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.objects import Pose, Recognition, Segment, TurnedBox
from streamserver.models.normalisation import Normalisation


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


class Detector(Protocol):
    """A loaded network of any detector family; may be shared between threads."""

    class_count: int
    """Classes it can report, numbered from 0."""

    @property
    def description(self) -> str:
        """What runs where."""

    def look(self, image_bgr: ImageBgr, *, min_scores: FloatArray, iou_threshold: float) -> Found:
        """Finds objects in a picture (height, width, 3).

        Args:
            image_bgr: the picture; not written to.
            min_scores: (class_count,), the lowest score that counts for each class.
            iou_threshold: of two boxes that overlap more, the better one stays.
        """


def load_detector(
    path: Path,
    *,
    family: str,
    device: str = "auto",
    threads: int = 1,
    normalisation: Normalisation | None = None,
    classes: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Detector:
    """Opens an ONNX file with the module ``streamserver.models.<family>``, by its function ``load``.

    Args:
        path: the file.
        family: one of the detector families.
        device: see ``open_session``.
        threads: see ``open_session``.
        normalisation: what the network wants to see; ``None`` for what is usual in the family.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.
        options: what else the family must know, from ``options`` in configs/models.yaml or from the element's keys.

    Raises:
        ModelError: the file is none of the family; says which layouts were expected and what was found.
    """
    module = importlib.import_module(f"streamserver.models.{family}")
    detector: Detector = module.load(
        path,
        device=device,
        threads=threads,
        normalisation=normalisation,
        classes=classes,
        options=dict(options or {}),
    )
    return detector


def _moved_pose(pose: Pose, corner: FloatArray) -> Pose:
    keypoints = pose.keypoints.copy()
    seen = keypoints[:, 2] > 0 if keypoints.shape[1] > 2 else np.ones(len(keypoints), dtype=np.bool_)
    keypoints[seen, :2] += corner
    return dataclasses.replace(pose, keypoints=keypoints)
