"""``yolox``, ``yolox_group``: finds objects with a YOLOX network. Keys: docs/elements.md."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections, FloatArray
from streamserver.core.errors import ConfigError, ModelError, ModelNotFoundError
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.normalisation import Normalisation
from streamserver.models.registry import read_labels
from streamserver.models.store import FoundModel, ModelStore
from streamserver.models.yolox import YoloX
from streamserver.vision.roi import Roi

logger = logging.getLogger(__name__)

_FAMILY = "yolox"
_SCALED_DOWN = 0.1
"""A factor below this brings pixels to about 0 to 1, or to units of a standard deviation."""


class YoloxElement(Element):
    """Adds the objects of each frame to it, best score first; a frame's earlier detections go."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = self._read_model_path()
        self._threshold_conf = self._read_threshold_conf()
        self._threshold_nms = self._read_share("threshold_nms", context.configure.get("threshold_nms"))
        self._labels = self._read_labels()
        self._normalisation = self._read_normalisation()
        try:
            self._roi = Roi.from_config(context.configure.get("roi"))
        except ValueError as e:
            raise context.error("roi", str(e)) from e
        self._detector: YoloX | None = None
        self._min_scores: FloatArray = np.zeros(0, dtype=np.float32)

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = self._find()
        registered = found.entry.preprocess if found.entry else None
        if registered is None and max(self._normalisation.scale) < _SCALED_DOWN:
            logger.warning(
                "%s: element %d: '%s' gets pixels from 0 to %.2g, as 'std' says; the official export of YOLOX takes "
                "0 to 255: if nothing is found, leave 'mean' and 'std' out",
                self.context.config_file,
                self.context.element_id,
                found.path.name,
                255 * max(self._normalisation.scale),
            )
        settings = self.context.settings
        self._detector = YoloX.load(
            found.path,
            device=settings.device,
            threads=settings.inference_threads,
            normalisation=registered or self._normalisation,
            classes=found.classes,
        )
        self._min_scores = self._scores_per_class(self._detector.class_count, found)
        self.context.report("detector", self._detector.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the frame, or at the part of it that ``roi`` names."""
        if frame.picture is not None:
            frame.detections = self._detect(frame.picture.bgr)
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._detector = None

    def _detect(self, image_bgr: Any) -> Detections:
        assert self._detector is not None
        part = image_bgr if self._roi is None else self._roi.crop(image_bgr)
        if part.size == 0:
            size = f"{image_bgr.shape[1]}x{image_bgr.shape[0]}"
            raise self.context.error("roi", f"{self._roi} lies outside the frame of {size}")
        found = self._detector.detect(part, min_scores=self._min_scores, iou_threshold=self._threshold_nms)
        if self._roi is None:
            return found
        corner = np.array([self._roi.left, self._roi.top] * 2, dtype=np.float32)
        return dataclasses.replace(found, boxes_xyxy=found.boxes_xyxy + corner)

    def _find(self) -> FoundModel:
        try:
            found = ModelStore(self.context.settings).resolve(self._model_path, base_dir=self.context.base_dir)
        except (ModelError, ModelNotFoundError) as e:
            where = f"{self.context.config_file}: element {self.context.element_id} '{self.context.name}': model_path"
            raise type(e)(f"{where}: {e.message}", cure=e.cure) from e
        if found.entry is not None and found.entry.family != _FAMILY:
            raise self.context.error(
                "model_path", f"'{self._model_path}' is of the family '{found.entry.family}', not '{_FAMILY}'"
            )
        return found

    def _scores_per_class(self, class_count: int, found: FoundModel) -> FloatArray:
        """The lowest score that counts for each class, shape (class_count,)."""
        if not isinstance(self._threshold_conf, Mapping):
            return np.full(class_count, self._threshold_conf, dtype=np.float32)
        labels = self._labels or found.labels
        if not labels:
            raise self.context.error("class_names_file", "is needed where threshold_conf names classes")
        if len(labels) != class_count:
            raise self.context.error(
                "class_names_file", f"has {len(labels)} names, the model has {class_count} classes"
            )
        return np.array([self._threshold_of(label) for label in labels], dtype=np.float32)

    def _threshold_of(self, label: str) -> float:
        assert isinstance(self._threshold_conf, Mapping)
        if label not in self._threshold_conf:
            raise self.context.error("threshold_conf", f"has no value for the class '{label}'")
        return self._threshold_conf[label]

    def _read_model_path(self) -> str:
        value = self.context.configure.get("model_path")
        if not isinstance(value, str) or not value:
            raise self.context.error("model_path", f"expected a path or a model's name, got {value!r}")
        return value

    def _read_threshold_conf(self) -> float | dict[str, float]:
        value = self.context.configure.get("threshold_conf")
        if isinstance(value, Mapping) and value:
            return {str(name): self._read_share(f"threshold_conf.{name}", share) for name, share in value.items()}
        return self._read_share("threshold_conf", value)

    def _read_share(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.context.error(key, f"expected a number from 0 to 1, got {value!r}")
        return float(value)

    def _read_labels(self) -> tuple[str, ...]:
        """The names of ``class_names_file``; read only where the thresholds need them."""
        value = self.context.configure.get("class_names_file")
        if not isinstance(self._threshold_conf, Mapping) or value is None:
            return ()
        try:
            return read_labels(self.context.base_dir / Path(str(value)))
        except ConfigError as e:
            raise self.context.error(
                "class_names_file", e.message, cure="or leave the key out for a model of configs/models.yaml"
            ) from e

    def _read_normalisation(self) -> Normalisation:
        """What the keys of the graph say; without mean and std, pixels as they are."""
        configure = self.context.configure
        bgr2rgb = configure.get("bgr2rgb", False)
        if not isinstance(bgr2rgb, bool):
            raise self.context.error("bgr2rgb", f"expected true or false, got {bgr2rgb!r}")
        if "mean" not in configure and "std" not in configure:
            return Normalisation(rgb=bgr2rgb)
        mean, std = configure.get("mean", [0, 0, 0]), configure.get("std", [1, 1, 1])
        try:
            return Normalisation.from_yolox_keys(mean=mean, std=std, bgr2rgb=bgr2rgb)
        except ValueError as e:
            key, _, problem = str(e).partition(": ")
            raise self.context.error(key, problem) from e


ELEMENT = YoloxElement
