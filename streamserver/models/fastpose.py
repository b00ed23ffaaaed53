"""Pose networks that look at one person at a time and answer with a heat map for each key point: AlphaPose's FastPose,
and any other network of this kind.

The person is cut out as AlphaPose does it: a box of the network's proportions around the person's, a quarter larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.core.model_address import ModelPlace
from streamserver.models.network import PictureNetwork, without_overflow
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

Reading = Literal["arg_max", "softmax", "sigmoid", "divide_sum"]
"""How a heat map becomes a point: its highest pixel, or the mean place by one of these weights."""

NORMALISATION = Normalisation(scale=(1 / 255,) * 3, offset=(0.406, 0.457, 0.480))
"""x / 255 less the means of blue, green and red (CONTRACT 3.3)."""

_DEFAULT_SIZE_WH = (192, 256)
_LEAST_POINTS = 5
"""Fewer maps than this are no person."""

_MARGIN = 1.25
_MOST_AT_ONCE = 16
"""People in one run of a network whose batch is free: 28 MB of pictures."""
_POINTS = {17: "COCO", 26: "Halpe", 133: "COCO-WholeBody", 136: "Halpe with face and hands"}


class FastPose:
    """A network for one person at a time; may be shared between threads.

    Args:
        session: the loaded file: one picture in, heat maps (n, points, h, w) or (n, h, w, points) out.
        normalisation: what the network wants to see; ``None`` for AlphaPose's.
        reading: how it was trained to mark a point.

    Attributes:
        point_count: key points of a person.

    Raises:
        ModelError: the file gives no heat maps; says what it gives.
    """

    def __init__(
        self, session: Session, *, normalisation: Normalisation | None = None, reading: Reading = "arg_max"
    ) -> None:
        self._network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
        if self._network.input.channels != 3:
            raise ModelError(f"'{session.name}' looks at grey pictures; pose networks look at coloured ones")
        self._normalisation = self._network.input.takes(normalisation or NORMALISATION)
        self._reading: Reading = reading
        shapes = [output.shape for output in self._network.run(np.zeros((1, 3, *self._input_hw), dtype=np.float32))]
        places = [_points_axis(shape, self._network) for shape in shapes]
        self._output = next((number for number, axis in enumerate(places) if axis is not None), -1)
        if self._output < 0:
            raise _other_layout(session, shapes)
        self._points_axis = places[self._output] or 0
        self.point_count = shapes[self._output][self._points_axis]

    @classmethod
    def load(
        cls,
        path: ModelPlace,
        *,
        device: str = "auto",
        threads: int = 1,
        normalisation: Normalisation | None = None,
        reading: Reading = "arg_max",
    ) -> FastPose:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        return cls(open_session(path, device=device, threads=threads), normalisation=normalisation, reading=reading)

    @property
    def description(self) -> str:
        """What runs where, and how many points it knows."""
        return f"{self._network.description} ({self.point_count} points)"

    def look(self, image_bgr: ImageBgr, boxes_xyxy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The key points of people.

        Args:
            image_bgr: (height, width, 3); not written to.
            boxes_xyxy: (n, 4) in pixels; may reach beyond the picture.

        Returns:
            float32 (n, points, 2) in pixels of the picture, and (n, points) scores.
        """
        windows = person_windows(boxes_xyxy, aspect=self._network.size_wh[0] / self._network.size_wh[1])
        found = [
            self._look(image_bgr, windows[i : i + _MOST_AT_ONCE]) for i in range(0, len(windows), _MOST_AT_ONCE)
        ] or [(np.zeros((0, self.point_count, 2), np.float32), np.zeros((0, self.point_count), np.float32))]
        points, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return points, scores

    @property
    def _input_hw(self) -> tuple[int, int]:
        return self._network.size_wh[1], self._network.size_wh[0]

    def _look(self, image_bgr: ImageBgr, windows_xywh: FloatArray) -> tuple[FloatArray, FloatArray]:
        blob: FloatArray = np.empty((len(windows_xywh), 3, *self._input_hw), dtype=np.float32)
        for row, window in enumerate(windows_xywh):
            self._normalisation.fill(blob[row], cut_out(image_bgr, window, self._network.size_wh))
        maps = without_overflow(self._network.run(blob)[self._output].astype(np.float32, copy=False))
        maps = np.ascontiguousarray(np.moveaxis(maps, self._points_axis, 1))
        points, scores = read_arg_max(maps) if self._reading == "arg_max" else read_mean_place(maps, self._reading)
        steps = windows_xywh[:, None, 2:] / np.array(maps.shape[:1:-1], dtype=np.float32)
        return (windows_xywh[:, None, :2] + points * steps).astype(np.float32), scores


def person_windows(boxes_xyxy: FloatArray, *, aspect: float) -> FloatArray:
    """What to cut out around boxes (n, 4): x, y, width, height (n, 4), with width / height = ``aspect``."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    height = np.maximum(sides[:, 1], sides[:, 0] / aspect) * _MARGIN
    window_sides = np.stack([height * aspect, height], axis=1)
    centres = (boxes_xyxy[:, 2:] + boxes_xyxy[:, :2]) / 2
    return np.concatenate([centres - window_sides / 2, window_sides], axis=1).astype(np.float32)


def cut_out(image_bgr: ImageBgr, window_xywh: FloatArray, size_wh: tuple[int, int]) -> ImageBgr:
    """The window in the size of the network; black beyond the picture."""
    x, y, width, height = (float(value) for value in window_xywh)
    scale_x, scale_y = size_wh[0] / width, size_wh[1] / height
    matrix = np.array([[scale_x, 0, -x * scale_x], [0, scale_y, -y * scale_y]])
    return np.asarray(cv2.warpAffine(image_bgr, matrix, size_wh, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def read_arg_max(maps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The highest pixel of each map, a quarter of a pixel towards its higher neighbours.

    Args:
        maps: (n, points, h, w).

    Returns:
        float32 (n, points, 2) in pixels of the map, and the heights (n, points).
    """
    height, width = maps.shape[2:]
    best = maps.reshape(*maps.shape[:2], -1).argmax(axis=2)
    y, x = np.divmod(best, width)
    row, point = np.indices(best.shape)
    right, left = np.minimum(x + 1, width - 1), np.maximum(x - 1, 0)
    below, above = np.minimum(y + 1, height - 1), np.maximum(y - 1, 0)
    slope_x = np.sign(maps[row, point, y, right] - maps[row, point, y, left])
    slope_y = np.sign(maps[row, point, below, x] - maps[row, point, above, x])
    quarter = 0.25 * ((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
    points = np.stack([x + quarter * slope_x, y + quarter * slope_y], axis=2)
    return points.astype(np.float32), maps[row, point, y, x]


def read_mean_place(maps: FloatArray, weights: Reading) -> tuple[FloatArray, FloatArray]:
    """The mean place of each map, weighted by its values: how networks trained with an L1 loss on joints mark a point.

    Args:
        maps: (n, points, h, w).
        weights: what makes weights of the values.

    Returns:
        float32 (n, points, 2) in pixels of the map, and scores (n, points): with ``sigmoid`` the highest weight,
        otherwise 1.
    """
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    scores = np.ones(maps.shape[:2], dtype=np.float32)
    if weights == "softmax":
        flat = np.exp(flat - flat.max(axis=2, keepdims=True))
    elif weights == "sigmoid":
        flat = 1 / (1 + np.exp(-flat))
        scores = flat.max(axis=2).astype(np.float32)
    total = flat.sum(axis=2)
    share = (flat / np.where(total == 0, 1, total)[:, :, None]).reshape(maps.shape)
    x = (share.sum(axis=2) * np.arange(maps.shape[3])).sum(axis=2)
    y = (share.sum(axis=3) * np.arange(maps.shape[2])).sum(axis=2)
    return np.stack([x, y], axis=2).astype(np.float32), scores


def suggest(session: Session) -> Suggestion | None:
    """How to use a file with heat maps of one person, as far as the declared shapes tell."""
    try:
        network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
    except ModelError:
        return None
    for spec in session.outputs:
        axis = _points_axis(spec.shape, network)
        count = 0 if axis is None else spec.shape[axis] or 0
        if count < _LEAST_POINTS or network.input.channels != 3:
            continue
        names = _POINTS.get(count)
        return Suggestion(
            element="fastpose",
            layout=f"heat maps {list(spec.shape)} of {count} points" + (f" ({names})" if names else ""),
            configure={"heatmap_loss": "MSELoss", "area_thresh": 0.0},
            notes=(
                "needs a detector of people before it",
                "people are shown as x / 255 less .406, .457, .480, blue first, unless 'mean' and 'std' say otherwise",
            ),
            certainty=0.8 if names else 0.3,
        )
    return None


def _points_axis(shape: Sequence[int | None], network: PictureNetwork) -> int | None:
    """Which side of an output counts the points: 1 or 3; ``None`` where it has not the proportions of the input."""
    if len(shape) != 4:
        return None
    width, height = network.size_wh
    orders = ((3, (1, 2)), (1, (2, 3))) if network.input.channels_last else ((1, (2, 3)), (3, (1, 2)))
    for axis, (rows_axis, columns_axis) in orders:
        rows, columns, points = shape[rows_axis], shape[columns_axis], shape[axis]
        if rows and columns and points and rows * width == columns * height and 1 < columns <= width:
            return axis
    return None


def _other_layout(session: Session, shapes: Sequence[tuple[int, ...]]) -> ModelError:
    found = ", ".join(f"{spec.name} {list(shape)}" for spec, shape in zip(session.outputs, shapes, strict=True))
    return ModelError(
        f"'{session.name}' gives no heat maps: expected an output [n, points, h, w] or [n, h, w, points] with the "
        f"proportions of the input, got {found}"
    )
