"""Which objects of which moments matter at all: ``Conditions`` applied to the frames of one channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.geometry.rules.rule import Conditions, RuleFrame
from streamserver.geometry.rules.zone import Zone

FORGET_AFTER_S = 30.0
"""So long an unseen object's confidence is remembered, longer than any linker looks for it."""

_SCORE_TOLERANCE = 1e-6  # scores are float32: 0.7 is a little less there

Mask = npt.NDArray[np.bool_]


class Qualifier:
    """Applies ``Conditions`` to the frames of one channel, in order. Not for several threads at once.

    An object that has once reached the threshold of its class keeps that under its identity, until it is unseen for
    ``FORGET_AFTER_S``; without an identity each frame stands for itself. An object in an excluded area is out of it
    again only when it is clearly so (``Zone``).

    Args:
        conditions: what has to hold.
        anchor: what of an object has to be in an excluded area, as in ``RuleSpec``.
        share: with anchor ``share``, how much of the box.
    """

    def __init__(self, conditions: Conditions, anchor: str = "foot", share: float = 0.5) -> None:
        self._conditions = conditions
        self._exclude = Zone(conditions.exclude, anchor=anchor, share=share) if conditions.exclude else None
        self._confident: dict[int, float] = {}
        self._excluded: dict[int, float] = {}

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._confident.keys() | self._excluded.keys())

    def reset(self) -> None:
        """Forgets all objects."""
        self._confident.clear()
        self._excluded.clear()

    def on(self, frame: RuleFrame) -> bool:
        """True if anything is to be told at the frame's time."""
        return not self._conditions.is_shut(frame.timestamp_us)

    def qualifying(self, frame: RuleFrame) -> Mask:
        """Which objects of the frame matter, bool (n,), at whatever time. Once for each processed frame."""
        suiting = self.suiting(frame)
        return suiting if self._exclude is None else suiting & ~self.excluded(frame)

    def suiting(self, frame: RuleFrame) -> Mask:
        """Like ``qualifying``, without regard to excluded areas; once for each processed frame."""
        objects = frame.detections
        wanted = self._conditions.concerns(objects.class_ids)
        small, large = wrong_sizes(objects, self._conditions)
        suiting = wanted & ~(small | large)
        return suiting & self._reached(frame, wanted) if self._conditions.thresholds else suiting

    def excluded(self, frame: RuleFrame) -> Mask:
        """Which objects of the frame are in an excluded area, bool (n,); once for each processed frame."""
        if self._exclude is None:
            return np.zeros(len(frame.detections), dtype=np.bool_)
        identities = frame.identities.tolist()
        before = np.array([identity in self._excluded for identity in identities], dtype=np.bool_)
        now = self._exclude.holds(frame.detections.boxes_xyxy, frame.size_wh, before)
        for identity, inside in zip(identities, now.tolist(), strict=True):
            if inside and identity > 0:
                self._excluded[identity] = frame.clock_s
            else:
                self._excluded.pop(identity, None)
        _forget(self._excluded, frame.clock_s)
        return now

    def _reached(self, frame: RuleFrame, wanted: Mask) -> Mask:
        thresholds, objects = self._conditions.thresholds, frame.detections
        least = np.array([thresholds.get(class_id, 0.0) for class_id in objects.class_ids.tolist()])
        reached: Mask = objects.scores >= least - _SCORE_TOLERANCE
        for row, identity in enumerate(frame.identities.tolist()):
            if wanted[row] and identity > 0 and (reached[row] or identity in self._confident):
                self._confident[identity] = frame.clock_s
                reached[row] = True
        _forget(self._confident, frame.clock_s)
        return reached


def wrong_sizes(objects: Detections, conditions: Conditions) -> tuple[Mask, Mask]:
    """Which of n objects are too small, and which too large, bool (n,) each."""
    sides = objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]
    wide, high = sides[:, 0], sides[:, 1]
    small = np.maximum(np.maximum(wide, high), 0) < conditions.min_px
    large = np.minimum(wide, high) > (conditions.max_px or np.inf)
    return small, large


def _forget(seen_s: dict[int, float], clock_s: float) -> None:
    for identity in [identity for identity, last_s in seen_s.items() if clock_s - last_s > FORGET_AFTER_S]:
        del seen_s[identity]
