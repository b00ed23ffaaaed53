"""What the yolo elements have in common: keys (docs/elements.md), weights, and what they leave in a frame."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ConfigError, GraphError
from streamserver.core.picture import Pixels
from streamserver.elements._model import (
    Outlook,
    find_model,
    load_network,
    read_flag,
    read_model_path,
    read_names,
    read_share,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models._yolo_options import YoloOptions
from streamserver.models.detector import Detector, Found, load_detector
from streamserver.models.normalisation import Normalisation
from streamserver.models.registry import read_labels
from streamserver.models.store import FoundModel

logger = logging.getLogger(__name__)

DETECTOR_FAMILIES = ("yolov5", "yolov7", "yolov8", "yolox")
"""Whatever the element is called, it runs weights that configs/models.yaml says are of one of these."""

_MOST_PX = 2.0**32
"""sophon-stream writes 4294967295 for no limit."""

_FAR_OFF = 10.0
"""A range of pixel values that many times smaller or larger than the usual one is a mistake, or soon looks like one."""


class DetectorElement(Element):
    """Puts what a network finds in each frame into it, best score first; what another detector found before goes.

    A subclass names its ``family`` and may change what the other class attributes and methods say.
    """

    may_be_shared = True

    family: ClassVar[str]
    """The module of ``streamserver.models`` that reads files which configs/models.yaml does not know."""

    usual: ClassVar[Normalisation] = Normalisation.from_mean_std(mean=0, std=255, rgb=True)
    """What the official exports take; holds where the keys ``bgr2rgb``, ``mean`` and ``std`` say nothing."""

    option_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of ``configure`` that say what the file does not, see ``YoloOptions``; for a file that configs/models.yaml
    knows, its entry says it."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self.families: tuple[str, ...] = DETECTOR_FAMILIES
        self._model_path = read_model_path(context)
        self._threshold_conf = _read_threshold_conf(context)
        self._threshold_nms = read_share(context, "threshold_nms", context.configure.get("threshold_nms"))
        self._names = read_names(context) if isinstance(self._threshold_conf, Mapping) else ()
        self._normalisation = self.read_normalisation()
        self._least_px = _read_side(context, "mindet", default=0.0)
        self._most_px = _read_side(context, "maxdet", default=math.inf)
        if self._least_px >= self._most_px:
            raise context.error("mindet", f"is {self._least_px:g}, but maxdet is {self._most_px:g}: nothing fits")
        self._outlook = Outlook(context)
        self._options = self.read_options()
        self._detector: Detector | None = None
        self._found: FoundModel | None = None
        self._min_scores: FloatArray = np.zeros(0, dtype=np.float32)

    def read_normalisation(self) -> Normalisation:
        """What ``bgr2rgb``, ``mean`` and ``std`` say: ``y = (x - mean) / std``, each with the usual value."""
        rgb = read_flag(self.context, "bgr2rgb", default=self.usual.rgb)
        mean, std = (self.context.configure.get(key, usual) for key, usual in (("mean", 0), ("std", 255)))
        try:
            return Normalisation.from_mean_std(mean=mean, std=std, rgb=rgb)
        except ValueError as e:
            raise self.error_of(e) from e

    def read_options(self) -> dict[str, Any]:
        """The ``option_keys`` that are there, checked."""
        options = {key: self.context.configure[key] for key in self.option_keys if key in self.context.configure}
        try:
            YoloOptions.from_mapping(options, known=self.option_keys)
        except ValueError as e:
            raise self.error_of(e) from e
        return options

    def options_for(self, found: FoundModel) -> Mapping[str, Any]:
        """What the family is told of a file: its entry's options; of a file without an entry, the element's keys."""
        return self._options if found.entry is None else found.entry.options

    def put(self, frame: Frame, found: Found) -> None:
        """Leaves what was found in the frame."""
        frame.detections = found.detections
        frame.poses = found.poses
        frame.segments = found.segments
        frame.turned_boxes = found.turned_boxes
        if found.recognitions:
            frame.recognitions = found.recognitions

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = find_model(self.context, self._model_path, families=self.families)
        self._detector = load_network(
            self.context,
            found,
            load_detector,
            family=self.family if found.entry is None else found.entry.family,
            normalisation=self._normalisation_for(found),
            classes=found.classes,
            options=self.options_for(found),
        )
        self._found = found
        self.batch_size = self._detector.batch_size
        self._min_scores = self._scores_per_class(self._detector, found)
        self.context.report("detector", self._detector.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the frame, or at the part of it that ``roi`` names."""
        self.process_many([frame], emit)

    def process_many(self, frames: Sequence[Frame], emit: Emit) -> None:
        """Looks at the frames of several channels, or at several parts, in one run."""
        parts = [None if frame.picture is None else self._outlook.pixels_of(frame) for frame in frames]
        found = iter(self._look([part for part in parts if part is not None]))
        for frame, part in zip(frames, parts, strict=True):
            if frame.picture is not None:
                self.put(frame, Found() if part is None else next(found))
            emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        """Takes other thresholds, sizes and another ``roi`` for the next frame; the network stays."""
        assert self._detector is not None and self._found is not None
        new = type(self)(replace(self.context, configure=configure))
        self._min_scores = new._scores_per_class(self._detector, self._found)
        self.context, self._outlook = new.context, new._outlook
        self._threshold_conf, self._names, self._threshold_nms = new._threshold_conf, new._names, new._threshold_nms
        self._least_px, self._most_px = new._least_px, new._most_px

    def close(self) -> None:
        """Lets the network go."""
        self._detector = None

    def _look(self, parts: Sequence[tuple[Pixels, tuple[int, int]]]) -> list[Found]:
        """What is in some pictures, given with their places in the frames."""
        assert self._detector is not None
        all_found = self._detector.look_many(
            [pixels for pixels, _ in parts], min_scores=self._min_scores, iou_threshold=self._threshold_nms
        )
        return [
            self._of_right_size(found).moved(*left_top) for found, (_, left_top) in zip(all_found, parts, strict=True)
        ]

    def _of_right_size(self, found: Found) -> Found:
        if not len(found.detections):
            return found
        boxes = found.detections.boxes_xyxy
        sides = boxes[:, 2:] - boxes[:, :2]
        fits = ((sides > self._least_px) & (sides < self._most_px)).all(axis=1)
        return found if fits.all() else found.select(fits)

    def _normalisation_for(self, found: FoundModel) -> Normalisation | None:
        """The registry's word, where it knows the file; the keys of a graph describe its .bmodel."""
        if found.entry is not None:
            return found.entry.preprocess
        usual, most = max(self.usual.scale), max(self._normalisation.scale)
        if not usual / _FAR_OFF < most < usual * _FAR_OFF:
            logger.warning(
                "%s: element %d: '%s' gets pixels from 0 to %.3g, as 'std' says; the official export of %s takes "
                "0 to %.3g: if nothing is found, leave 'mean' and 'std' out",
                self.context.config_file,
                self.context.element_id,
                found.path.name,
                255 * most,
                self.family.upper() if self.family == "yolox" else f"YOLO{self.family[4:]}",
                255 * usual,
            )
        return self._normalisation

    def error_of(self, error: ValueError) -> GraphError:
        """The error for a message of the form ``key: problem``."""
        key, _, problem = str(error).partition(": ")
        return self.context.error(key, problem)

    def _scores_per_class(self, detector: Detector, found: FoundModel) -> FloatArray:
        """The lowest score that counts for each class, as ``Detector.look`` wants it."""
        count = detector.class_count
        if not isinstance(self._threshold_conf, Mapping):
            self._compare_names(count)
            return np.full(max(1, count), self._threshold_conf, dtype=np.float32)
        labels = self._names or found.labels or detector.class_names
        if not labels:
            raise self.context.error("class_names_file", "is needed where threshold_conf names classes")
        if count and len(labels) != count:
            source = "has" if self._names else "is not there, and configs/models.yaml has"
            raise self.context.error(
                "class_names_file",
                f"{source} {len(labels)} names, the model has {count} classes",
                cure="name the file with the model's own classes, or give threshold_conf as one number",
            )
        if "" in labels:
            raise self.context.error("class_names_file", f"line {labels.index('') + 1} is empty: classes have names")
        return np.array([self._threshold_of(label) for label in labels], dtype=np.float32)

    def _compare_names(self, class_count: int) -> None:
        """Warns of a names file that is another model's, though nothing here needs it."""
        value = self.context.configure.get("class_names_file")
        if not isinstance(value, str) or not class_count:
            return
        try:
            count = len(read_labels(self.context.base_dir / value))
        except ConfigError:
            return
        if count != class_count:
            logger.warning(
                "%s: element %d: class_names_file: has %d names, the model has %d classes",
                self.context.config_file,
                self.context.element_id,
                count,
                class_count,
            )

    def _threshold_of(self, label: str) -> float:
        assert isinstance(self._threshold_conf, Mapping)
        if label not in self._threshold_conf:
            raise self.context.error("threshold_conf", f"has no value for the class '{label}'")
        return self._threshold_conf[label]


def _read_threshold_conf(context: ElementContext) -> float | dict[str, float]:
    value = context.configure.get("threshold_conf")
    if isinstance(value, Mapping) and value:
        return {str(name): read_share(context, f"threshold_conf.{name}", share) for name, share in value.items()}
    return read_share(context, "threshold_conf", value)


def _read_side(context: ElementContext, key: str, *, default: float) -> float:
    """A number of pixels."""
    if key not in context.configure:
        return default
    value = context.configure[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_PX:
        raise context.error(key, f"expected a number of pixels, got {value!r}")
    return float(value)
