"""``openpose``, ``openpose_group``: the poses of all people in a picture at once. Keys: docs/elements.md."""

from __future__ import annotations

from streamserver.elements._model import (
    find_model,
    load_network,
    normalisation_of,
    read_flag,
    read_model_path,
    read_normalisation,
    read_share,
)
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.openpose import OpenPose

_FAMILY = "openpose"


class OpenPoseElement(Element):
    """Gives each frame the poses of its people, whatever its detections are; earlier poses go."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._model_path = read_model_path(context)
        self._peak_threshold = read_share(context, "threshold_nms", context.configure.get("threshold_nms"))
        self._normalisation = read_normalisation(context)
        read_flag(context, "use_tpu_kernel", default=False)  # says how a Sophgo chip does it; the results are the same
        self._network: OpenPose | None = None

    def open(self) -> None:
        """Finds and loads the weights, and reports what runs where."""
        found = find_model(self.context, self._model_path, families=[_FAMILY])
        normalisation = normalisation_of(found, self._normalisation)
        self._network = load_network(self.context, found, OpenPose.load, normalisation=normalisation)
        self.context.report("detector", self._network.description)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks at the whole frame."""
        if frame.picture is not None:
            assert self._network is not None
            frame.poses = self._network.find(frame.picture.bgr, peak_threshold=self._peak_threshold)
        emit(frame)

    def close(self) -> None:
        """Lets the network go."""
        self._network = None


ELEMENT = OpenPoseElement
