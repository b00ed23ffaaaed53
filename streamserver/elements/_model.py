"""What all elements that run a network read from their configuration, and how they find its file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import ConfigError, ModelError, ModelNotFoundError
from streamserver.core.model_address import ModelAddress
from streamserver.core.picture import Pixels, Planes, size_wh_of
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.models.normalisation import Normalisation
from streamserver.models.registry import read_labels
from streamserver.models.store import FoundModel, ModelStore, inspect_cure
from streamserver.models.tuning import tuned
from streamserver.vision.roi import Roi

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = TypeVar("P", Planes, ImageBgr)


def read_model_path(context: ElementContext) -> str:
    """``model_path``, which every such element needs."""
    value = context.configure.get("model_path")
    if not isinstance(value, str) or not value:
        raise context.error("model_path", f"expected a path or a model's name, got {value!r}")
    return value


def find_model(context: ElementContext, model_path: str, *, families: Collection[str]) -> FoundModel:
    """The file for ``model_path``, fetched if need be; one that configs/models.yaml knows must be of ``families``.

    Raises:
        ModelNotFoundError, ModelError, GraphError: naming the element file, the element and the key.
    """
    try:
        found = ModelStore(context.settings).resolve(model_path, base_dir=context.base_dir)
    except (ModelError, ModelNotFoundError) as e:
        raise unusable(context, e) from e
    if found.entry is not None and found.entry.family not in families:
        expected = " or ".join(f"'{family}'" for family in sorted(families))
        raise context.error(
            "model_path",
            f"'{model_path}' is of the family '{found.entry.family}', not {expected}",
            cure="'python -m streamserver.models list' shows what is for what",
        )
    return found


def load_network(context: ElementContext, found: FoundModel, load: Callable[..., T], **options: Any) -> T:
    """The network of a file, on the device and with the threads that the settings name.

    Args:
        context: the element's.
        found: the file.
        load: the family's function that opens it.
        options: what else it takes.

    Raises:
        ModelError, ModelNotFoundError: naming the element file, the element and the key, always with a cure.
    """
    settings = context.settings
    place = found.path
    if isinstance(place, ModelAddress):
        patient_s = min(settings.remote_timeout_s, settings.heartbeat_timeout_s)  # or the engine would look hung
        place = replace(place, timeout_s=patient_s, waiting=_AtServer(context, place))
    elif settings.model_tuning:
        context.alive()
        place = tuned(place, settings.model_cache_path)
    try:
        return load(place, device=settings.device, threads=settings.inference_threads, **options)
    except ModelNotFoundError as e:
        raise unusable(context, e) from e
    except ModelError as e:
        raise unusable(context, ModelError(e.message, cure=e.cure or inspect_cure(found.path))) from e


class _AtServer:
    """Waits for a model server that is away, in the element's own thread, and says so in the task's status."""

    def __init__(self, context: ElementContext, address: ModelAddress) -> None:
        self._context = context
        self._address = address

    def wait(self, reason: str, pause_s: float) -> bool:
        """See ``Waiting``."""
        self._context.alive()
        self._context.report("detector", f"waiting for {self._address}: {reason}")
        return not self._context.stopping.wait(pause_s)

    def over(self, running: str) -> None:
        """See ``Waiting``."""
        self._context.alive()
        self._context.report("detector", running)


def normalisation_of(found: FoundModel, own: Normalisation | None) -> Normalisation | None:
    """What the network wants to see: of a known file what configs/models.yaml says, of another what the keys say."""
    return own if found.entry is None else found.entry.preprocess


def unusable(context: ElementContext, error: ModelError | ModelNotFoundError) -> ModelError | ModelNotFoundError:
    """The same error, naming the element file, the element and the key."""
    where = f"{context.config_file}: element {context.element_id} '{context.name}': model_path"
    return type(error)(f"{where}: {error.message}", cure=error.cure)


def read_share(context: ElementContext, key: str, value: Any) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise context.error(key, f"expected a number from 0 to 1, got {value!r}")
    return float(value)


def read_flag(context: ElementContext, key: str, *, default: bool) -> bool:
    """True or false."""
    value = context.configure.get(key, default)
    if not isinstance(value, bool):
        raise context.error(key, f"expected true or false, got {value!r}")
    return value


def read_count(context: ElementContext, key: str, *, default: int, least: int = 0, most: int = 1_000_000_000) -> int:
    """A whole number within limits."""
    value = context.configure.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise context.error(key, f"expected a whole number from {least} to {most}, got {value!r}")
    return value


def read_text(context: ElementContext, key: str) -> str:
    """A text that is not empty."""
    value = context.configure.get(key)
    if not isinstance(value, str) or not value:
        raise context.error(key, f"expected a text, got {value!r}")
    return value


def read_choice(context: ElementContext, key: str, choices: tuple[str, ...], *, default: str) -> str:
    """One of ``choices``."""
    value = context.configure.get(key, default)
    if value not in choices:
        raise context.error(key, f"got {value!r}", cure=f"use one of {', '.join(choices)}")
    return str(value)


def read_roi(context: ElementContext) -> Roi | None:
    """The ``roi`` object, or ``None`` for the whole frame."""
    try:
        return Roi.from_config(context.configure.get("roi"))
    except ValueError as e:
        raise context.error("roi", str(e)) from e


class Outlook:
    """What an element looks at: the part of each frame that ``roi`` names, or all of one that it does not touch.

    A camera may change its size while it runs, and areas may be drawn on another picture than comes: that must not end
    a task, so it is only said, once for each size.

    Args:
        context: of the element, with its ``roi``.

    Raises:
        GraphError: ``roi`` is none.
    """

    def __init__(self, context: ElementContext) -> None:
        self.roi = read_roi(context)
        self._context = context
        self._missed: set[tuple[int, ...]] = set()

    def part_of(self, frame: Frame) -> tuple[ImageBgr, tuple[int, int]] | None:
        """The pixels, and where in the frame their left upper corner is.

        Returns:
            ``None`` for a part of a frame that ``roi`` does not touch, or that is empty: parts have all sizes.
        """
        assert frame.picture is not None
        return self._cut(frame, frame.picture.bgr)

    def pixels_of(self, frame: Frame) -> tuple[Pixels, tuple[int, int]] | None:
        """As ``part_of``, but planes where the picture has them, so that nothing is converted."""
        assert frame.picture is not None
        planes = frame.picture.planes
        return self.part_of(frame) if planes is None else self._cut(frame, planes)

    def _cut(self, frame: Frame, whole: P) -> tuple[P, tuple[int, int]] | None:
        part = whole if self.roi is None else self.roi.crop(whole)
        if min(size_wh_of(part)):
            return part, (0, 0) if self.roi is None else (self.roi.left, self.roi.top)
        if frame.branch_of:
            return None
        size_wh = size_wh_of(whole)
        if size_wh not in self._missed:
            self._missed.add(size_wh)
            problem = f"{self.roi} lies outside the frame of {size_wh[0]}x{size_wh[1]}"
            logger.warning("%s; all of it is looked at", self._context.error("roi", problem).message)
        return whole, (0, 0)


def read_names(context: ElementContext, *, key: str = "class_names_file") -> tuple[str, ...]:
    """The class names of a file named by ``key``, one a line; empty when the key is not there."""
    value = context.configure.get(key)
    if value is None:
        return ()
    try:
        return read_labels(context.base_dir / Path(str(value)))
    except ConfigError as e:
        raise context.error(key, e.message, cure=e.cure) from e


def read_normalisation(context: ElementContext) -> Normalisation | None:
    """``y = (x - mean) / std``, as all elements but yolox mean it; ``None`` without both keys.

    Without ``bgr2rgb`` the channels come as they are in a frame, blue first.
    """
    configure = context.configure
    rgb = read_flag(context, "bgr2rgb", default=False)
    if "mean" not in configure and "std" not in configure:
        return None
    try:
        return Normalisation.from_mean_std(
            mean=configure.get("mean", [0, 0, 0]), std=configure.get("std", [1, 1, 1]), rgb=rgb
        )
    except ValueError as e:
        key, _, problem = str(e).partition(": ")
        raise context.error(key, problem) from e
