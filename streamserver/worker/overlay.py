"""What a channel's preview shows besides the picture: names of classes, and the zones and lines of its filters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import ConfigError
from streamserver.core.model_address import ModelAddress, is_model_address
from streamserver.elements._places import places_of
from streamserver.graph.demo import Channel
from streamserver.graph.model import DETECTORS, Graph, Node
from streamserver.models.registry import Registry, read_labels
from streamserver.vision.draw import shapes
from streamserver.vision.draw.algorithms import Drawing, layers
from streamserver.vision.draw.findings import Findings
from streamserver.vision.draw.places import Place, draw_objects, draw_place
from streamserver.vision.draw.scaled import scaled_findings
from streamserver.vision.draw.shapes import Style

logger = logging.getLogger(__name__)

_NAMES_KEY = "class_names_file"

_DRAW: Drawing = layers(
    shapes.draw_segments,
    shapes.draw_turned_boxes,
    shapes.draw_poses,
    draw_objects,
    shapes.draw_faces,
    shapes.draw_texts_below,
    shapes.draw_action,
)
"""Everything that elements find, each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """How one channel is drawn.

    Attributes:
        channel_id: whose frames.
        places: where its filters look, in pixels of the full picture.
        style: the names of its classes, and what writes them.
    """

    channel_id: int
    places: Sequence[Place] = ()
    style: Style = field(default_factory=Style)

    def draw(self, image_bgr: ImageBgr, findings: Findings, factor: float) -> None:
        """Draws into a picture that is ``factor`` times as large as the one in which ``findings`` were found."""
        for place in self.places:
            draw_place(image_bgr, place, factor)
        _DRAW(image_bgr, scaled_findings(findings, factor), self.style)


def overlays_of(graphs: Sequence[Graph], channels: Sequence[Channel], base_dir: Path) -> list[Overlay]:
    """One overlay a channel, in the order of ``channels``, which is that of the task's algorithms.

    Args:
        graphs: normalised graphs.
        channels: what runs through them.
        base_dir: what relative paths of element files are relative to.
    """
    by_id = {graph.graph_id: graph for graph in graphs}
    return [
        Overlay(
            channel_id=channel.channel_id,
            places=_places(by_id[channel.graph_id], channel.channel_id),
            style=Style(class_names=_class_names(by_id[channel.graph_id], base_dir)),
        )
        for channel in channels
    ]


def _places(graph: Graph, channel_id: int) -> list[Place]:
    filters = [node for node in graph.nodes if node.name == "filter"]
    return [place for node in filters for place in places_of(node.configure, channel_id)]


def _class_names(graph: Graph, base_dir: Path) -> tuple[str, ...]:
    """The names of the classes that the graph's last detector finds; empty where nobody knows them."""
    detectors = [node for node in graph.nodes if node.name in DETECTORS]
    for node in reversed(detectors):
        if names := _names_in_file(node.configure, base_dir) or _names_of_model(node):
            return names
    return ()


def _names_in_file(configure: Mapping[str, object], base_dir: Path) -> tuple[str, ...]:
    value = configure.get(_NAMES_KEY)
    if not isinstance(value, str) or not value:
        return ()
    try:
        return read_labels(base_dir / value)
    except ConfigError as e:
        logger.info("the preview shows numbers for the names of classes: %s", e)
        return ()


def _names_of_model(node: Node) -> tuple[str, ...]:
    """What configs/models.yaml says of the file, or of the one that stands in for it."""
    text = str(node.configure.get("model_path", ""))
    registry = _registry()
    if is_model_address(text):
        entry = registry.by_address(ModelAddress.from_text(text))
    else:
        file = PurePath(text).name
        rule = registry.bmodel_rule(file)
        known = rule.model if rule else text
        entry = registry.by_file(file) or registry.models.get(known)
    return entry.labels if entry else ()


@cache
def _registry() -> Registry:
    """The known models; none where the file is wrong, which elements that need it say."""
    try:
        return Registry.from_file()
    except ConfigError:
        return Registry({})
