"""The poses of some seconds as clips of heat maps, as PoseC3D sees them (Duan et al., "Revisiting Skeleton-based Action
Recognition", 2022; https://github.com/kennymckormick/pyskl).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.core.objects import Pose
from streamserver.models._skeletons import SKELETONS

POINTS = 17
"""The points of COCO: nose, then eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, the left one first."""
MIRRORED = (0, *(point + 1 if point % 2 else point - 1 for point in range(1, POINTS)))
"""What each point is in a mirror."""

_COCO_FIRST = (17, 26, 133, 136)
"""Sets of points that begin with those of COCO: itself, Halpe, COCO-WholeBody, Halpe with face and hands."""
_SIGMA_PX = 0.6
_REACH_PX = 3 * _SIGMA_PX
_MIN_SCORE = 1e-4
_PADDING = 0.25
_MIN_SIDE_PX = 10
"""People who take less room than this in the picture are not brought nearer."""
_SEED = 255
"""The frames that are drawn are the same for each window of one length, so results can be repeated."""

Points = tuple[FloatArray, FloatArray]
"""Of one frame: (people, 17, 2) in pixels, and scores (people, 17)."""


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Frames, height and width of one clip."""

    frames: int = 48
    height: int = 64
    width: int = 64


def coco_points(poses: Sequence[Pose]) -> Points:
    """The points of COCO among those of a frame's poses.

    Raises:
        ValueError: the poses have other points; says how many.
    """
    points = np.zeros((len(poses), POINTS, 2), dtype=np.float32)
    scores = np.zeros((len(poses), POINTS), dtype=np.float32)
    for row, pose in enumerate(poses):
        places = _places(len(pose.keypoints))
        points[row] = pose.keypoints[places, :2]
        if pose.keypoints.shape[1] > 2:
            scores[row] = pose.keypoints[places, 2]
        else:
            scores[row] = 1 if pose.scores is None else pose.scores[places]
    return points, scores


def clips(window: Sequence[Points], size_wh: tuple[int, int], shape: ClipShape, *, count: int) -> Iterator[FloatArray]:
    """Clips (17, frames, height, width) of one window, drawn one by one, for each is 13 MB large.

    Args:
        window: at least one frame.
        size_wh: width and height of the pictures.
        shape: of a clip.
        count: how many clips.
    """
    near = _brought_near(window, size_wh, shape)
    random = np.random.default_rng(_SEED)
    for number in range(count):
        frames = sample_frames(len(window), shape.frames, clip=number, clips=count, random=random)
        yield heat_maps([near[frame] for frame in frames.tolist()], shape)


def mirrored(clip: FloatArray) -> FloatArray:
    """The same clip with right and left exchanged."""
    return np.ascontiguousarray(clip[list(MIRRORED), ..., ::-1])


def sample_frames(
    available: int, wanted: int, *, clip: int, clips: int, random: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Numbers (wanted,) of frames spread evenly over ``available`` ones, in order, with some chance in each step.

    Too few frames are repeated from their beginning, each clip starting at another one.
    """
    if available < wanted:
        start = clip * available // clips if available >= clips else clip
        return np.arange(start, start + wanted) % available
    if available < 2 * wanted:
        skipped = np.zeros(wanted + 1, dtype=np.intp)
        skipped[random.choice(wanted + 1, available - wanted, replace=False)] = 1
        spread: npt.NDArray[np.intp] = np.arange(wanted) + skipped.cumsum()[:-1]
        return spread
    edges = np.arange(wanted + 1, dtype=np.intp) * available // wanted
    return edges[:-1] + (random.random(wanted) * np.diff(edges)).astype(np.intp)


def heat_maps(frames: Sequence[Points], shape: ClipShape) -> FloatArray:
    """(17, frames, height, width): around each point a bell as high as its score; of several people the highest counts.

    Args:
        frames: points in pixels of the maps.
        shape: height and width of the maps.
    """
    maps = np.zeros((POINTS, len(frames), shape.height, shape.width), dtype=np.float32)
    points = np.concatenate([points.reshape(-1, 2) for points, _ in frames])
    scores = np.concatenate([scores.ravel() for _, scores in frames])
    seen = scores >= _MIN_SCORE
    frame = np.repeat(np.arange(len(frames)), [scores.size for _, scores in frames])[seen]
    joint = np.tile(np.arange(POINTS), len(scores) // POINTS)[seen]
    x, bell_x = _bells(points[seen, 0], shape.width)
    y, bell_y = _bells(points[seen, 1], shape.height)
    values = bell_y[:, :, None] * bell_x[:, None, :] * scores[seen, None, None]
    place = (joint[:, None, None], frame[:, None, None], y[:, :, None], x[:, None, :])
    np.maximum.at(maps, place, values.astype(np.float32))
    return maps


def _bells(centres: FloatArray, size: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """The pixels of a row of ``size`` near each centre (n,), and how high its bell is there: (n, 5) both."""
    pixels = np.trunc(centres - _REACH_PX)[:, None] + np.arange(int(2 * _REACH_PX) + 2)
    heights = np.exp(-((pixels - centres[:, None]) ** 2) / (2 * _SIGMA_PX**2))
    inside = (pixels >= 0) & (pixels < size) & (pixels <= np.trunc(centres + _REACH_PX)[:, None])
    return np.clip(pixels, 0, size - 1).astype(np.intp), np.where(inside, heights, 0).astype(np.float32)


def _brought_near(window: Sequence[Points], size_wh: tuple[int, int], shape: ClipShape) -> list[Points]:
    """The points in pixels of the maps: the square around all people of all frames fills them."""
    left, top, width, height = _room(window, size_wh)
    scale = max(shape.width, shape.height) / min(width, height)
    shift_x = (round(width * scale) - shape.width) // 2
    shift_y = (round(height * scale) - shape.height) // 2
    corner, shift = np.array([left, top]), np.array([shift_x, shift_y])
    return [((points - corner) * scale - shift, scores) for points, scores in window]


def _room(window: Sequence[Points], size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the square around all points that were found, with a margin; or the picture."""
    found = np.concatenate([points[scores >= _MIN_SCORE] for points, scores in window])
    if not len(found) or (np.ptp(found, axis=0) < _MIN_SIDE_PX).any():
        return 0, 0, *size_wh
    low, high = found.min(axis=0), found.max(axis=0)
    half = float((high - low).max()) / 2 * (1 + _PADDING)
    x, y = (float(value) for value in (low + high) / 2)
    left, top = int(x - half), int(y - half)
    return left, top, int(x + half) - left, int(y + half) - top


def _places(count: int) -> list[int]:
    if count in _COCO_FIRST:
        return list(range(POINTS))
    skeleton = next((skeleton for skeleton in SKELETONS if skeleton.joints == count), None)
    if skeleton is None:
        raise ValueError(f"expected poses that contain the {POINTS} points of COCO, got poses of {count} points")
    return list(skeleton.coco)
