"""PoseC3D: what people do, from their poses over some seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError
from streamserver.core.model_address import ModelPlace
from streamserver.models._pose_clips import POINTS, ClipShape, Points, clips, mirrored
from streamserver.models.resnet import activate
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, TensorSpec, open_session

DEFAULT_CLIPS = 10

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_SUM_TOLERANCE = 1e-2
"""Shares that add up to 1 within this are shares already: half precision is no better."""


class PoseC3D:
    """A PoseC3D network; may be shared between threads.

    Args:
        session: the loaded file: one input (clips, 17, frames, h, w) or (1, clips, 17, frames, h, w), and an output
            (clips or 1, classes).
        clip_count: clips of a window, half of which are mirrored ones, where the file leaves their number free; an even
            number.

    Attributes:
        class_count: classes it knows; ``None`` where the file does not say.

    Raises:
        ModelError: the file is no PoseC3D network; says what it takes and gives.
    """

    def __init__(self, session: Session, *, clip_count: int = 2 * DEFAULT_CLIPS) -> None:
        if len(session.inputs) != 1 or not _fits(session.inputs[0]) or not session.outputs:
            raise _other_layout(session)
        [spec] = session.inputs
        self._session = session
        self._nested = len(spec.shape) == 6
        self._dtype = _DTYPES[spec.dtype]
        self._at_once = spec.shape[1] if self._nested else spec.shape[0]
        self._clip_count = self._at_once if self._at_once and self._at_once > 1 else clip_count
        free = ClipShape()
        self._shape = ClipShape(
            spec.shape[-3] or free.frames, spec.shape[-2] or free.height, spec.shape[-1] or free.width
        )
        self.class_count = session.outputs[0].shape[-1] if session.outputs[0].shape else None

    @classmethod
    def load(
        cls, path: ModelPlace, *, device: str = "auto", threads: int = 1, clip_count: int = 2 * DEFAULT_CLIPS
    ) -> PoseC3D:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        return cls(open_session(path, device=device, threads=threads), clip_count=clip_count)

    @property
    def description(self) -> str:
        """What runs where."""
        return f"{self._session.name} on {self._session.provider}"

    def classify(
        self, window: Sequence[Points], size_wh: tuple[int, int], *, after_each_run: Callable[[], None] = lambda: None
    ) -> FloatArray:
        """What the people of a window do.

        Args:
            window: the points of each frame, at least one frame.
            size_wh: width and height of the pictures.
            after_each_run: called now and then, for a window may take many seconds.

        Returns:
            float32 (classes,): the certainty of each, which add up to 1; the mean of all clips.
        """
        shares = []
        for batch in self._batches(window, size_wh):
            shares.append(_shares(self._run(batch)))
            after_each_run()
        result: FloatArray = np.concatenate(shares).mean(axis=0, dtype=np.float32)
        return result

    def _batches(self, window: Sequence[Points], size_wh: tuple[int, int]) -> Iterator[FloatArray]:
        """Clips (n, 17, frames, h, w), as many at once as the file wants; a clip and its mirror image alternate."""
        waiting = []
        drawn = clips(window, size_wh, self._shape, count=(self._clip_count + 1) // 2)
        images = (image for clip in drawn for image in (clip, mirrored(clip)))
        for _, image in zip(range(self._clip_count), images, strict=False):
            waiting.append(image)
            if len(waiting) == (self._at_once or 1):
                yield np.stack(waiting)
                waiting = []

    def _run(self, batch: FloatArray) -> FloatArray:
        """Runs the network on clips: rows (n or 1, classes), as the file gives them."""
        tensor = batch.astype(self._dtype, copy=False)
        outputs = self._session.run({self._session.inputs[0].name: tensor[None] if self._nested else tensor})
        rows: npt.NDArray[Any] = outputs[0]
        if rows.ndim < 2 or rows.size % rows.shape[-1]:
            raise _other_layout(self._session)
        return rows.reshape(-1, rows.shape[-1]).astype(np.float32)


def suggest(session: Session) -> Suggestion | None:
    """How to use a file that takes clips of 17 heat maps."""
    if len(session.inputs) != 1 or not session.outputs or not _fits(session.inputs[0]):
        return None
    classes = session.outputs[0].shape[-1] if session.outputs[0].shape else None
    return Suggestion(
        element="posec3d",
        layout=f"clips {list(session.inputs[0].shape)} of the heat maps of {POINTS} points",
        configure={"class_names_file": "actions.txt", "frames_num": 72},
        notes=(
            f"class_names_file: one name a line, {classes or 'as many as there are'} classes",
            "needs fastpose (or yolov8 Pose, or openpose) before it",
        ),
        certainty=0.9,
    )


def _fits(spec: TensorSpec) -> bool:
    return (
        spec.dtype in _DTYPES
        and len(spec.shape) in (5, 6)
        and spec.shape[-4] in (POINTS, None)
        and (len(spec.shape) == 5 or spec.shape[0] in (1, None))
    )


def _shares(rows: FloatArray) -> FloatArray:
    """Rows that are certainties as they are, others (logits) by softmax."""
    if (rows >= 0).all() and np.abs(rows.sum(axis=1) - 1).max() < _SUM_TOLERANCE:
        return rows
    return np.stack([activate(row, "softmax") for row in rows])


def _other_layout(session: Session) -> ModelError:
    taken = ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in session.inputs)
    given = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in session.outputs)
    return ModelError(
        f"'{session.name}' is no PoseC3D network: expected one input [clips, {POINTS}, frames, h, w] or [1, clips, "
        f"{POINTS}, frames, h, w] of floats and an output [clips or 1, classes], got {taken} and {given or 'none'}"
    )
