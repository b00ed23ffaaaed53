"""``resnet``: judges a picture or part as a whole: its class, its labels or its features. Keys: docs/elements.md."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.objects import Recognition
from streamserver.elements import _model
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.resnet import Activation, ResNet, activate

logger = logging.getLogger(__name__)

SINGLE, FEATURE, MULTI = "SingleLabel", "FeatureExtract", "MultiLabel"
_ACTIVATIONS = ("auto", "softmax", "sigmoid", "none")
_DEFAULT_CLASS_THRESH = 0.5


class ResNetElement(Element):
    """Adds one recognition to each frame or part."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = _model.read_model_path(context)
        self._task = _model.read_choice(context, "task_type", (SINGLE, FEATURE, MULTI), default=SINGLE)
        self._normalisation = _model.read_normalisation(context)
        self._grey = _model.read_flag(context, "bgr2gray", default=False)
        self._roi = _model.read_roi(context)
        self._names = _model.read_names(context)
        self._class_thresh = self._read_class_thresh()
        self._wanted_activation = _model.read_choice(context, "activation", _ACTIVATIONS, default="auto")
        self._activation: Activation = "none"
        self._thresholds: FloatArray = np.zeros(0, dtype=np.float32)
        self._network: ResNet | None = None
        self._warned = False

    def open(self) -> None:
        """Finds and loads the weights, compares them with the keys, and reports what runs where."""
        found = _model.find_model(self.context, self._model_path, families=("resnet",))
        network = _model.load_network(
            self.context,
            found,
            ResNet.load,
            normalisation=_model.normalisation_of(found, self._normalisation),
            grey=self._grey and found.entry is None,
        )
        self._names = self._names or found.labels
        if self._task != FEATURE:
            self._check_classes(network)
        self._activation = self._choose_activation(network)
        self._network = network
        self.batch_size = network.batch_size
        self.context.report("classifier", network.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the frame, or at the part of it that ``roi`` names."""
        self.process_many([frame], emit)

    def process_many(self, frames: Sequence[Frame], emit: Emit) -> None:
        """Looks at the frames of several channels, or at several parts, in one run."""
        assert self._network is not None
        seen: list[tuple[Frame, ImageBgr]] = []
        for frame in frames:
            if frame.picture is not None:
                part = self._part(frame.picture.bgr, is_part=frame.branch_of != 0)
                if part.size:
                    seen.append((frame, part))
        all_values = self._network.run_many([part for _, part in seen])
        for (frame, _), values in zip(seen, all_values, strict=True):
            frame.recognitions = (*frame.recognitions, self._recognition(values))
        for frame in frames:
            emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._network = None

    def _part(self, image_bgr: ImageBgr, *, is_part: bool) -> ImageBgr:
        """What to look at; nothing where ``roi`` misses a part, for parts come in all sizes."""
        part = image_bgr if self._roi is None else self._roi.crop(image_bgr)
        if part.size == 0:
            size = f"{image_bgr.shape[1]}x{image_bgr.shape[0]}"
            problem = f"{self._roi or 'the picture'} lies outside the frame of {size}"
            if not is_part:
                raise self.context.error("roi", problem)
            if not self._warned:
                self._warned = True
                logger.warning("%s; such parts are not recognised", self.context.error("roi", problem).message)
        return part

    def _recognition(self, values: FloatArray) -> Recognition:
        if self._task == FEATURE:
            return Recognition(feature=values)
        scores = np.nan_to_num(activate(values, self._activation), nan=0.0)
        if self._task == MULTI:
            flags = scores >= self._thresholds
            return Recognition(scores=tuple(map(float, scores)), class_ids=tuple(map(int, flags)))
        best = int(scores.argmax())
        return Recognition(
            label=self._names[best] if self._names else "", scores=(float(scores[best]),), class_ids=(best,)
        )

    def _choose_activation(self, network: ResNet) -> Activation:
        """What the numbers still need; a softmax inside the file must not be squashed by a second one."""
        if self._wanted_activation != "auto":
            return cast(Activation, self._wanted_activation)
        if self._task == SINGLE:
            return "none" if network.adds_up else "softmax"
        return "none" if network.bounded else "sigmoid"

    def _check_classes(self, network: ResNet) -> None:
        count = network.count
        if self._task == SINGLE and count < 2:
            raise self.context.error(
                "task_type",
                f"'{SINGLE}' needs the numbers of two classes at least, '{self._model_path}' gives one",
                cure=f"use '{MULTI}'",
            )
        if self._names and len(self._names) != count:
            raise self.context.error("class_names_file", f"has {len(self._names)} names, the model has {count} classes")
        if isinstance(self._class_thresh, tuple) and len(self._class_thresh) != count:
            raise self.context.error(
                "class_thresh", f"has {len(self._class_thresh)} numbers, the model has {count} classes"
            )
        self._thresholds = np.broadcast_to(np.array(self._class_thresh, dtype=np.float32), (count,))

    def _read_class_thresh(self) -> tuple[float, ...] | float:
        """One number a class, or one for all."""
        if self._task != MULTI:
            return _DEFAULT_CLASS_THRESH
        value: Any = self.context.configure.get("class_thresh", _DEFAULT_CLASS_THRESH)
        if not isinstance(value, list):
            return _model.read_share(self.context, "class_thresh", value)
        return tuple(_model.read_share(self.context, f"class_thresh[{i}]", share) for i, share in enumerate(value))


ELEMENT = ResNetElement
