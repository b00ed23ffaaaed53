"""What may change in the graphs of a running task, and what differs between two versions of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from streamserver.graph.model import RawGraph

_LOOK = frozenset({"roi"})
_SCORES = frozenset({"threshold_conf", "threshold_nms", "class_names_file", "mindet", "maxdet"})
_TRACKING = frozenset(
    {
        "frame_rate",
        "track_buffer",
        "min_box_area",
        "track_thresh",
        "high_thresh",
        "match_thresh",
        "correct_box",
        "growth",
        "agnostic",
    }
)

CHANGEABLE: Mapping[str, frozenset[str]] = {
    "filter": frozenset({"rules"}),
    "bytetrack": _TRACKING,
    "motion": _LOOK,
    **dict.fromkeys(("yolov5", "yolov7", "yolov8", "yolox"), _LOOK | _SCORES),
}
"""By element, the keys of ``configure`` that its ``reconfigure`` can change while it runs."""


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys of two ``configure`` objects that are not the same in both."""
    return [key for key in {**old, **new} if key not in old or key not in new or old[key] != new[key]]


def obstacles(old: RawGraph, new: RawGraph, *, fixed: bool = False) -> Iterator[str]:
    """Why a running engine cannot go on with ``new`` in the place of ``old``, in words; nothing if it can.

    Args:
        old: the graph that runs.
        new: the graph that is wanted.
        fixed: the engine can change nothing at all while it runs.
    """
    shape = (new.data, new.connections, [element.entry for element in new.elements])
    if shape != (old.data, old.connections, [element.entry for element in old.elements]):
        yield "its elements and their connections"
        return
    for before, after in zip(old.elements, new.elements, strict=True):
        rest = [{**element.config, "configure": {}} for element in (before, after)]
        if rest[0] != rest[1]:
            yield f"the file of element {after.element_id} '{after.name}'"
        allowed = frozenset() if fixed else CHANGEABLE.get(after.name, frozenset())
        for key in changed_keys(before.configure, after.configure):
            if key not in allowed:
                yield f"'{key}' of element {after.element_id} '{after.name}'"
