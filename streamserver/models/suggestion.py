"""What a network's file is good for, as each model family sees it: behind ``python -m streamserver.models inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One way to use a file. Each family's module has ``suggest(session: Session) -> Suggestion | None``, which looks
    at names, shapes and types (and may run the network once) and never raises for a file of another family.

    Attributes:
        element: the element that runs it, e.g. ``yolov8``.
        layout: which of the family's layouts was found, in words.
        configure: keys for the element's ``configure``, ready to be copied, without ``model_path``.
        notes: what a person should know or choose (class names, colour order).
        certainty: 0 to 1; of several families that could read the same shapes, the likelier first.
    """

    element: str
    layout: str
    configure: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    certainty: float = 0.5
