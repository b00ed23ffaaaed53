"""Pictures of objects as they were before: each at its largest and sharpest, or when it was last seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.events import Kind, RuleEvent
from streamserver.core.picture import Picture
from streamserver.geometry.rules.rule import RuleKind, RuleSpec
from streamserver.vision.crop import clip_box, square_around

LONGEST_PX = 640
"""Longer sides are shrunk to this."""

MOST_BYTES = 32 << 20
"""So much a channel keeps; beyond it, those go that have not been seen for longest."""

FORGET_AFTER_S = 30.0
"""An object is gone when it has not been seen for so long, and for as long as a rule waits for it."""

_SHARPNESS_PX = 96
"""Sharpness is judged on a copy of at most this length."""


@dataclass(slots=True)
class _Shot:
    last_s: float
    quality: float
    best_bgr: ImageBgr | None = None
    last_bgr: ImageBgr | None = None

    @property
    def bytes(self) -> int:
        return sum(image.nbytes for image in (self.best_bgr, self.last_bgr) if image is not None)


class Shots:
    """Keeps what the events of one channel's rules may show: copies, by identity, never parts of a frame.

    Args:
        specs: the rules.
        before: what has been kept for other rules of the channel until now; goes on.
    """

    def __init__(self, specs: Sequence[RuleSpec], before: Shots | None = None) -> None:
        self.keeps_best = any(spec.best_picture for spec in specs)
        self.keeps_last = any(not spec.best_picture and tells_of_the_gone(spec) for spec in specs)
        self._forget_after_s = max((FORGET_AFTER_S, *(2 * spec.rearm_s for spec in specs)))
        self._shots: dict[int, _Shot] = {} if before is None else before._shots

    def __len__(self) -> int:
        """How many objects have a picture here."""
        return len(self._shots)

    @property
    def bytes(self) -> int:
        """What the pictures take."""
        return sum(shot.bytes for shot in self._shots.values())

    def reset(self) -> None:
        """Forgets all objects."""
        self._shots.clear()

    def see(self, picture: Picture, detections: Detections, identities: Sequence[int], clock_s: float) -> None:
        """Takes the objects of the next processed frame; those without an identity are left out."""
        if not (self.keeps_best or self.keeps_last):
            return
        for box_xyxy, identity in zip(detections.boxes_xyxy, identities, strict=True):
            if identity > 0:
                self._take(picture.bgr, box_xyxy.tolist(), identity, clock_s)
        self._forget(clock_s)

    def of(self, event: RuleEvent, *, best: bool) -> ImageBgr | None:
        """What an event shows: its object at its best, or as it was seen last; ``None`` where that is not kept."""
        shot = self._shots.get(event.track_id)
        if shot is None:
            return None
        return shot.best_bgr if best else shot.last_bgr

    def _take(self, image_bgr: ImageBgr, box_xyxy: Sequence[float], identity: int, clock_s: float) -> None:
        shot = self._shots.pop(identity, None) or _Shot(clock_s, -1.0)
        self._shots[identity] = shot  # the order is that in which they were last seen
        shot.last_s = clock_s
        quality = _quality(image_bgr, box_xyxy) if self.keeps_best else 0.0
        is_better = self.keeps_best and quality > shot.quality
        if not (is_better or self.keeps_last):
            return
        crop = _copy(image_bgr, box_xyxy)
        if is_better:
            shot.best_bgr, shot.quality = crop, quality
        if self.keeps_last:
            shot.last_bgr = crop

    def _forget(self, clock_s: float) -> None:
        held = self.bytes
        for identity, shot in list(self._shots.items()):
            if clock_s - shot.last_s <= self._forget_after_s and held <= MOST_BYTES:
                return
            held -= shot.bytes
            del self._shots[identity]


def tells_of_the_gone(spec: RuleSpec) -> bool:
    """Whether an event of the rule may speak of an object that is no longer in the frame."""
    return spec.kind is RuleKind.FLOW or (spec.kind is RuleKind.AREA and Kind.LEAVE in spec.events)


def _copy(image_bgr: ImageBgr, box_xyxy: Sequence[float]) -> ImageBgr:
    """The object with its surroundings, as reports show it."""
    x1, y1, x2, y2 = square_around(box_xyxy, (image_bgr.shape[1], image_bgr.shape[0]))
    return _at_most(image_bgr[y1:y2, x1:x2], LONGEST_PX)


def _at_most(part_bgr: ImageBgr, longest_px: int) -> ImageBgr:
    """A copy, shrunk where it is longer."""
    height, width = part_bgr.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return part_bgr.copy()
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(part_bgr, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _quality(image_bgr: ImageBgr, box_xyxy: Sequence[float]) -> float:
    """The visible area of the box times its sharpness, the variance of the Laplacian."""
    inside = clip_box(box_xyxy, (image_bgr.shape[1], image_bgr.shape[0]))
    if inside is None:
        return 0.0
    x1, y1, x2, y2 = inside
    grey = cv2.cvtColor(_at_most(image_bgr[y1:y2, x1:x2], _SHARPNESS_PX), cv2.COLOR_BGR2GRAY)
    return (x2 - x1) * (y2 - y1) * float(cv2.Laplacian(grey, cv2.CV_32F).var())
