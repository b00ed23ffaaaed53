"""``yolox``, ``yolox_group``: finds objects with a YOLOX network. Keys: docs/elements.md."""

from __future__ import annotations

from streamserver.elements._detector import DetectorElement
from streamserver.elements._model import read_flag
from streamserver.models.normalisation import Normalisation
from streamserver.models.yolox import FAMILY


class YoloxElement(DetectorElement):
    """Its ``std`` counts from pixels of 0 to 1; without ``mean`` and ``std`` the network gets pixels as they are."""

    family = "yolox"
    usual = FAMILY.usual
    option_keys = FAMILY.options

    def read_normalisation(self) -> Normalisation:
        """``y = x / (255 * std) - mean / std``."""
        configure = self.context.configure
        rgb = read_flag(self.context, "bgr2rgb", default=False)
        if "mean" not in configure and "std" not in configure:
            return Normalisation(rgb=rgb)
        try:
            return Normalisation.from_yolox_keys(
                mean=configure.get("mean", 0), std=configure.get("std", 1), bgr2rgb=rgb
            )
        except ValueError as e:
            raise self.error_of(e) from e


ELEMENT = YoloxElement
