"""``retinaface``, ``retinaface_group``: finds faces with five points. Keys: docs/elements.md."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamserver.core.arrays import ImageBgr
from streamserver.core.objects import Face
from streamserver.elements import _model
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.faces import DEFAULT_LONGEST_SIDE, FAMILIES, FaceFinder, load_face_finder
from streamserver.models.store import FoundModel

logger = logging.getLogger(__name__)

_LEAST_SIDE, _MOST_SIDE = 32, 8192


class RetinaFaceElement(Element):
    """Adds the faces of each frame to it, best score first; a frame's earlier faces go."""

    may_be_shared = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        configure = context.configure
        self._model_path = _model.read_model_path(context)
        self._score_threshold = _model.read_share(context, "score_threshold", configure.get("score_threshold", 0.5))
        self._threshold_nms = _model.read_share(context, "threshold_nms", configure.get("threshold_nms"))
        self._max_face_count = _model.read_count(context, "max_face_count", default=50)
        self._normalisation = _model.read_normalisation(context)
        self._outlook = _model.Outlook(context)
        self._longest_side = _model.read_count(
            context, "longest_side", default=DEFAULT_LONGEST_SIDE, least=_LEAST_SIDE, most=_MOST_SIDE
        )
        self._finder: FaceFinder | None = None

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = _model.find_model(self.context, self._model_path, families=FAMILIES)
        self._finder = _model.load_network(
            self.context,
            found,
            load_face_finder,
            family=found.entry.family if found.entry else None,
            normalisation=_model.normalisation_of(found, self._normalisation),
            longest_side=self._longest_side,
        )
        self._raise_threshold(found)
        if found.entry is None and self._finder.normalisation != self._finder.usual:
            logger.warning(
                "%s: element %d: '%s' gets other colours than is usual for a %s, as 'mean', 'std' and 'bgr2rgb' say: "
                "if nothing is found, leave these keys out",
                self.context.config_file,
                self.context.element_id,
                found.path.name,
                self._finder.family,
            )
        self.context.report("detector", self._finder.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the frame, or at the part of it that ``roi`` names."""
        if frame.picture is not None:
            part = self._outlook.part_of(frame)
            frame.faces = () if part is None else self._look(*part)
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._finder = None

    def _look(self, image_bgr: ImageBgr, left_top: tuple[int, int]) -> Sequence[Face]:
        assert self._finder is not None
        faces = self._finder.find(
            image_bgr,
            min_score=self._score_threshold,
            iou_threshold=self._threshold_nms,
            max_count=self._max_face_count,
        )
        return [face.moved(*left_top) for face in faces]

    def _raise_threshold(self, found: FoundModel) -> None:
        """The threshold of a graph that names a .bmodel is that network's; its stand-in scores in its own way."""
        least = found.entry.options.get("least_score", 0) if found.entry else 0
        if not isinstance(least, int | float):
            raise self.context.error(
                "model_path", f"options.least_score in configs/models.yaml is {least!r}, no number"
            )
        if not self._model_path.lower().endswith(".bmodel") or self._score_threshold >= least:
            return
        logger.warning(
            "%s: element %d: score_threshold %g is meant for '%s'; '%s' stands in for it and takes %g instead. To have "
            "your own, name the ONNX file as model_path",
            self.context.config_file,
            self.context.element_id,
            self._score_threshold,
            self._model_path.rpartition("/")[2],
            found.path.name,
            least,
        )
        self._score_threshold = float(least)


ELEMENT = RetinaFaceElement
