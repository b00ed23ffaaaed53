"""``yolov8``, ``yolov8_group``: finds objects, poses, outlines, turned boxes or a class. Keys: docs/elements.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.elements._detector import DetectorElement
from streamserver.elements._model import read_choice
from streamserver.engine.frame import Frame
from streamserver.models._yolov8_heads import Task
from streamserver.models.detector import Found
from streamserver.models.store import FoundModel

_KEY = "task_type"


class Yolov8Element(DetectorElement):
    """One of five tasks, by ``task_type``; each puts what it finds where CONTRACT 3.2 says."""

    family = "yolov8"

    def read_options(self) -> dict[str, Any]:
        """The task."""
        self._task = Task(read_choice(self.context, _KEY, tuple(Task), default=Task.DETECT))
        return {_KEY: str(self._task)}

    def options_for(self, found: FoundModel) -> Mapping[str, Any]:
        """The task of the graph, which must be that of the weights, and what configs/models.yaml says besides."""
        if found.entry is None:
            return super().options_for(found)
        known = found.entry.options
        own = found.entry.family == self.family
        task = known.get(_KEY, self._task if own else Task.DETECT)
        if task != self._task:
            raise self.context.error(
                _KEY, f"'{found.entry.name}' is for {task}, not for {self._task}", cure=f"write '{task}'"
            )
        return {_KEY: str(task), **known} if own else known

    def put(self, frame: Frame, found: Found) -> None:
        """Leaves what was found in the frame; of a class or turned boxes, beside what detectors have left there."""
        if self._task is Task.CLS:
            frame.recognitions = found.recognitions
        elif self._task is Task.OBB:
            frame.turned_boxes = found.turned_boxes
        else:
            super().put(frame, found)


ELEMENT = Yolov8Element
