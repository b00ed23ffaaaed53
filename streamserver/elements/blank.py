"""``blank``: logs each frame and passes it on; for looking at what comes along a connection."""

from __future__ import annotations

import logging

from streamserver.engine.element import Element, Emit
from streamserver.engine.frame import Frame

logger = logging.getLogger(__name__)


class Blank(Element):
    """Changes nothing; its lines in the log are of level DEBUG."""

    wants_skipped = True

    def process(self, frame: Frame, emit: Emit) -> None:
        """Logs the frame and emits it."""
        logger.debug(
            "element %d: channel %d frame %d: %d objects, %d faces, %d parts",
            self.context.element_id,
            frame.channel_id,
            frame.frame_id,
            len(frame.detections),
            len(frame.faces),
            len(frame.sub_frames),
        )
        emit(frame)


ELEMENT = Blank
