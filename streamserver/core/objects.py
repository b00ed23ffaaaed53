"""What can be found in a picture besides boxes: texts and classes, poses, faces, turned boxes, outlines.

Points and boxes are in pixels of the picture that was looked at: the whole frame, or, in a part of one, the part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a classifier or a reader says of a whole picture or part (``mRecognizedObjectMetadatas``).

    Attributes:
        label: a text that was read or the name of a class; empty when there is none.
        scores: how sure it is, 0 to 1, or, of a face, how similar; may be empty.
        class_ids: class numbers, best first; of a multi-label classifier a 0 or 1 for each class; may be empty.
        feature: float32 (d,), the embedding of a feature extractor; not sent over the wire.
    """

    label: str = ""
    scores: tuple[float, ...] = ()
    class_ids: tuple[int, ...] = ()
    feature: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Pose:
    """The key points of one person (``mPosedObjectMetadatas``).

    Attributes:
        keypoints: float32 (k, 3): x, y, score of each joint (0, 0, 0 for a joint that was not found), or (k, 2) without
            scores, as fastpose sends them.
        scores: float32 (k,), the joints' scores where ``keypoints`` has none; not sent over the wire.
    """

    keypoints: FloatArray
    scores: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """One face (``mFaceObjectMetadata``).

    Attributes:
        box_xyxy: left, top, right, bottom in pixels; may reach beyond the picture.
        score: 0 to 1.
        points_xy: float32 (5, 2): eye on the picture's left, other eye, nose, left mouth corner, the other.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    points_xy: FloatArray

    def moved(self, x: float, y: float) -> Face:
        """The same in a picture of which this one was a part that begins at ``x``, ``y``."""
        left, top, right, bottom = self.box_xyxy
        points_xy = self.points_xy + np.array((x, y), dtype=np.float32)
        return Face((left + x, top + y, right + x, bottom + y), self.score, points_xy)


@dataclass(frozen=True, slots=True)
class TurnedBox:
    """One object in a box that need not be upright (yolov8 Obb); not sent over the wire.

    Attributes:
        center_xy: in pixels.
        size_wh: in pixels.
        angle_rad: how far the box's width is turned from the x axis towards the y axis.
        score: 0 to 1.
        class_id: number of the class.
    """

    center_xy: tuple[float, float]
    size_wh: tuple[float, float]
    angle_rad: float
    score: float
    class_id: int

    def corners_xy(self) -> FloatArray:
        """The four corners, float32 (4, 2), in turn."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        half_w = np.array([cos, sin]) * self.size_wh[0] / 2
        half_h = np.array([-sin, cos]) * self.size_wh[1] / 2
        centre = np.array(self.center_xy)
        corners = [
            centre - half_w - half_h,
            centre + half_w - half_h,
            centre + half_w + half_h,
            centre - half_w + half_h,
        ]
        return np.stack(corners).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Segment:
    """The pixels of one object (yolov8 Seg); not sent over the wire.

    Attributes:
        left_top_xy: where ``mask`` lies in the picture, in pixels.
        mask: bool (h, w), true where the object is.
    """

    left_top_xy: tuple[int, int]
    mask: npt.NDArray[np.bool_]
