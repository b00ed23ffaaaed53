"""``fastpose``, ``fastpose_group``: the pose of each detected person. Keys: docs/elements.md."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.objects import Pose
from streamserver.elements._model import (
    find_model,
    load_network,
    normalisation_of,
    read_choice,
    read_model_path,
    read_normalisation,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models._pose_nms import merge_poses
from streamserver.models.fastpose import FastPose, Reading

_FAMILY = "fastpose"
_MIN_SIDE_PX = 16
"""Smaller boxes are noise (CONTRACT 3.3)."""
_LOSSES = ("MSELoss", "L1JointRegression")
_WEIGHTS = ("sigmoid", "softmax", "divide_sum")


class FastPoseElement(Element):
    """Gives each detection its pose, in the same order; a frame's earlier poses go.

    A detection whose pose is another's, or is none, keeps its row with the points 0, 0.
    """

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        self._reading = _read_reading(context)
        self._min_area = _read_area(context)
        self._normalisation = read_normalisation(context)
        self._network: FastPose | None = None

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = find_model(self.context, self._model_path, families=[_FAMILY])
        normalisation = normalisation_of(found, self._normalisation)
        self._network = load_network(
            self.context, found, FastPose.load, normalisation=normalisation, reading=self._reading
        )
        self.context.report("poses", self._network.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at each detection; those smaller than 16 pixels are dropped."""
        if frame.picture is not None:
            _drop_small(frame)
            frame.poses = self._poses(frame.picture.bgr, frame) if len(frame.detections) else ()
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._network = None

    def _poses(self, image_bgr: ImageBgr, frame: Frame) -> tuple[Pose, ...]:
        assert self._network is not None
        boxes = frame.detections.boxes_xyxy
        points, scores = self._network.look(image_bgr, boxes)
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        points, scores, stays = merge_poses(points, scores, sides, min_area=self._min_area)
        points[~stays], scores[~stays] = 0, 0
        return tuple(Pose(*rows) for rows in zip(points, scores, strict=True))


def _drop_small(frame: Frame) -> None:
    boxes = frame.detections.boxes_xyxy
    keep = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= _MIN_SIDE_PX).all(axis=1))
    if len(keep) < len(boxes):
        frame.keep_rows(keep)


def _read_reading(context: ElementContext) -> Reading:
    """How heat maps become points: ``heatmap_loss`` and ``norm_type`` say how the network was trained."""
    loss = read_choice(context, "heatmap_loss", _LOSSES, default="MSELoss")
    weights = read_choice(context, "norm_type", _WEIGHTS, default="sigmoid")
    return "arg_max" if loss == "MSELoss" else cast(Reading, weights)


def _read_area(context: ElementContext) -> float:
    value = context.configure.get("area_thresh", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise context.error("area_thresh", f"expected square pixels, at least 0, got {value!r}")
    return float(value)


ELEMENT = FastPoseElement
