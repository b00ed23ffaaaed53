"""YOLOX detectors, in the forms in which they are exported (Megvii YOLOX, https://github.com/Megvii-BaseDetection/YOLOX).

Boxes of a cell: centre = (offset + cell) * stride, size = exp(size) * stride; score = objectness * class; boxes of all
classes suppress each other. The official export takes pixels as they are, blue first, letterboxed to the top left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamserver.core.errors import ModelError
from streamserver.models._yolo_cells import Cells
from streamserver.models._yolo_detector import YoloDetector, YoloFamily, class_summary
from streamserver.models._yolo_layout import GridLayout, Scheme
from streamserver.models._yolo_options import YoloOptions
from streamserver.models.letterboxed import LetterboxedNetwork
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

OPTIONS = ("pad", "enlarge")
"""Keys of ``options``; see ``YoloOptions``."""

_FAMILY = YoloFamily(
    scheme=Scheme("YOLOX", ((3, None), (4, None)), flat_is_decoded=False),
    box_rule=Cells.boxes_by_exp,
    boxes_activated=False,
    class_aware=False,
    drops_whole=True,
)


class YoloX(YoloDetector):
    """A YOLOX network. Input size, classes and layout come from the file; may be shared between threads.

    Args:
        session: the loaded file.
        normalisation: what the network wants to see; ``None`` for pixels as they are, blue first.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.
        options: ``pad`` and ``enlarge``.

    Raises:
        ModelError: the file is no YOLOX export; says what was expected and found.
    """

    def __init__(
        self,
        session: Session,
        *,
        normalisation: Normalisation | None = None,
        classes: tuple[int, ...] | None = None,
        options: YoloOptions | None = None,
    ) -> None:
        chosen = options or YoloOptions()
        network = LetterboxedNetwork(
            session,
            normalisation=normalisation or Normalisation(),
            pad=chosen.pad,
            anchor="top_left",
            enlarge=chosen.enlarge,
        )
        super().__init__(network, _FAMILY, classes=classes)

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", threads: int = 1) -> YoloX:
        """Opens an ONNX file; see ``open_session`` for the arguments."""
        return cls(open_session(path, device=device, threads=threads))


def load(
    path: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    normalisation: Normalisation | None = None,
    classes: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> YoloX:
    """Opens an ONNX file; see ``load_detector`` for the arguments."""
    try:
        chosen = YoloOptions.from_mapping(options or {}, known=OPTIONS)
    except ValueError as e:
        raise ModelError(f"'{path.name}': options: {e}") from e
    session = open_session(path, device=device, threads=threads)
    return YoloX(session, normalisation=normalisation, classes=classes, options=chosen)


def suggest(session: Session) -> Suggestion | None:
    """How the yolox element would run the file; ``None`` if it cannot."""
    try:
        detector = YoloX(session)
    except ModelError:
        return None
    flat = isinstance(detector.layout, GridLayout) and len(detector.layout.views) == 1
    return Suggestion(
        element="yolox",
        layout=detector.layout.words,
        configure={"threshold_conf": 0.5, "threshold_nms": 0.5},
        notes=(class_summary(detector), "without 'mean' and 'std' it gets pixels from 0 to 255, blue first"),
        certainty=0.9 if flat else 0.3,
    )
