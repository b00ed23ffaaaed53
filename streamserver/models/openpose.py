"""OpenPose networks: all people of a picture at once, by heat maps of joints and part affinity fields of limbs.

Any export will do whose input is a picture and whose outputs hold the maps of COCO_18 (19 and 38) or BODY_25 (26 and
52): joined, heat maps first, in one output, or in two; of networks with several stages the last ones count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.core.model_address import ModelPlace
from streamserver.core.objects import Pose
from streamserver.models._people import find_people
from streamserver.models._skeletons import SKELETONS, Skeleton
from streamserver.models.network import PictureNetwork, without_overflow
from streamserver.models.normalisation import Normalisation
from streamserver.models.suggestion import Suggestion
from streamserver.runtime.session import Session, open_session

NORMALISATION = Normalisation.from_mean_std(mean=[128] * 3, std=[255] * 3, rgb=False)
"""(x - 128) / 255, blue first (CONTRACT 3.3)."""

_DEFAULT_SIZE_WH = (656, 368)
"""What OpenPose itself runs a picture of 16:9 at."""

Shape = Sequence[int | None]


@dataclass(frozen=True, slots=True)
class _Maps:
    """Where the maps are: the numbers of the outputs, the same one where they are joined, and how these lie."""

    skeleton: Skeleton
    heat_output: int
    field_output: int
    channels_last: bool

    @property
    def joined(self) -> bool:
        """One output holds all maps, those of the joints first."""
        return self.heat_output == self.field_output

    def describe(self) -> str:
        """In words."""
        heat, fields = self.skeleton.heat_maps, self.skeleton.field_maps
        where = f"{heat + fields} maps in one output" if self.joined else f"outputs of {heat} and {fields} maps"
        return f"{self.skeleton.name}, {where}" + (", channels last" if self.channels_last else "")

    def split(self, outputs: Sequence[npt.NDArray[Any]]) -> tuple[FloatArray, FloatArray]:
        """The heat maps and the field maps, (c, h, w) each, of the first picture."""
        heat, fields = (self._first(outputs[number]) for number in (self.heat_output, self.field_output))
        if self.joined:
            fields = fields[self.skeleton.heat_maps :]
        return heat[: self.skeleton.joints], fields

    def _first(self, output: npt.NDArray[Any]) -> FloatArray:
        maps = without_overflow(output[0].astype(np.float32, copy=False))
        return maps.transpose(2, 0, 1) if self.channels_last else maps


class OpenPose:
    """An OpenPose network; may be shared between threads.

    Args:
        session: the loaded file.
        normalisation: what the network wants to see; ``None`` for the family's.

    Attributes:
        skeleton: which joints it knows.

    Raises:
        ModelError: the file is no OpenPose network; says which layout was found.
    """

    def __init__(self, session: Session, *, normalisation: Normalisation | None = None) -> None:
        self._network = PictureNetwork(session, default_size_wh=_DEFAULT_SIZE_WH)
        if self._network.input.channels != 3:
            raise ModelError(f"'{session.name}' looks at grey pictures; OpenPose networks look at coloured ones")
        self._normalisation = self._network.input.takes(normalisation or NORMALISATION)
        grey = np.full((*self._network.size_wh[::-1], 3), 128, dtype=np.uint8)
        shapes = [output.shape for output in self._network.run(self._blob(grey))]
        maps = _find_maps(shapes)
        if maps is None:
            raise _other_layout(session, shapes)
        self._maps = maps
        self.skeleton = maps.skeleton

    @classmethod
    def load(
        cls, path: ModelPlace, *, device: str = "auto", threads: int = 1, normalisation: Normalisation | None = None
    ) -> OpenPose:
        """Opens an ONNX file; see the class and ``open_session`` for the arguments."""
        return cls(open_session(path, device=device, threads=threads), normalisation=normalisation)

    @property
    def description(self) -> str:
        """What runs where, and which joints it knows."""
        return f"{self._network.description} ({self.skeleton.name})"

    def find(self, image_bgr: ImageBgr, *, peak_threshold: float) -> tuple[Pose, ...]:
        """The people in a picture (height, width, 3).

        Args:
            image_bgr: the picture; not written to.
            peak_threshold: a joint's score is above it.

        Returns:
            key points (joints, 3) in pixels of the picture: x, y, score; 0, 0, 0 for a joint that was not found.
        """
        heat_maps, field_maps = self._maps.split(self._network.run(self._blob(image_bgr)))
        grid_wh = self._network.size_wh
        people = find_people(self.skeleton, heat_maps, field_maps, grid_wh=grid_wh, peak_threshold=peak_threshold)
        scale = (image_bgr.shape[1] / grid_wh[0], image_bgr.shape[0] / grid_wh[1])
        return tuple(Pose(_stretched(keypoints, scale)) for keypoints in people)

    def _blob(self, image_bgr: ImageBgr) -> FloatArray:
        """The network's input (1, 3, H, W): the picture stretched to its size."""
        width, height = self._network.size_wh
        blob: FloatArray = np.empty((1, 3, height, width), dtype=np.float32)
        stretched = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_LINEAR)
        self._normalisation.fill(blob[0], np.asarray(stretched, dtype=np.uint8))
        return blob


def suggest(session: Session) -> Suggestion | None:
    """How to use a file with the maps of OpenPose, as far as the declared shapes tell."""
    maps = _find_maps([spec.shape for spec in session.outputs])
    if maps is None or len(session.inputs) != 1 or len(session.inputs[0].shape) != 4:
        return None
    return Suggestion(
        element="openpose",
        layout=maps.describe(),
        configure={"threshold_nms": 0.05, "use_tpu_kernel": False},
        notes=(
            "the picture is shown as (x - 128) / 255, blue first, unless 'mean', 'std' and 'bgr2rgb' say otherwise",
        ),
        certainty=0.95,
    )


def _find_maps(shapes: Sequence[Shape]) -> _Maps | None:
    """Where the maps are among outputs of these shapes; of several candidates the last, which is the last stage's."""
    for channels_last in (False, True):
        channel = -1 if channels_last else 1
        counts = [shape[channel] if len(shape) == 4 else None for shape in shapes]
        for skeleton in SKELETONS:
            joined = _last(counts, skeleton.heat_maps + skeleton.field_maps)
            heat, fields = _last(counts, skeleton.heat_maps), _last(counts, skeleton.field_maps)
            if joined is not None:
                return _Maps(skeleton, joined, joined, channels_last)
            if heat is not None and fields is not None:
                return _Maps(skeleton, heat, fields, channels_last)
    return None


def _last(counts: Sequence[int | None], wanted: int) -> int | None:
    return max((number for number, count in enumerate(counts) if count == wanted), default=None)


def _stretched(keypoints: FloatArray, scale_xy: tuple[float, float]) -> FloatArray:
    """Key points of the grid as those of the picture; whole numbers are the middles of pixels in both."""
    found = keypoints.any(axis=1)
    moved = keypoints.copy()
    moved[found, :2] = (keypoints[found, :2] + 0.5) * np.array(scale_xy) - 0.5
    return moved


def _other_layout(session: Session, shapes: Sequence[Shape]) -> ModelError:
    expected = " or ".join(
        f"{s.heat_maps + s.field_maps} ({s.name}: {s.heat_maps} heat maps and {s.field_maps} part affinity fields)"
        for s in SKELETONS
    )
    found = ", ".join(f"{spec.name} {list(shape)}" for spec, shape in zip(session.outputs, shapes, strict=True))
    return ModelError(
        f"'{session.name}' is no OpenPose network: expected {expected} maps [n, maps, h, w] in one output or in two, "
        f"got {found}"
    )
