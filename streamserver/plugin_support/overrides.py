"""What a task changes in a sample's graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOverrides:
    """What a task changes in a sample's graph; everything else stays as in ``samples/<name>/config``.

    Attributes:
        graph: the graph file in the sample's config folder.
        channel: keys of the channel in the demo file that the task sets (address, sampling, looping).
        filters: the ``filters`` list of the filter element's rule for this channel; empty for no filter element.
        elements: changes to the ``configure`` object of elements by element name, ``_group`` left out, e.g.
            ``{"yolox": {"threshold_conf": 0.4}}``; a key ``"*detector"`` reaches every detector of the graph.
    """

    graph: str = "engine_group.json"
    channel: Mapping[str, Any] = field(default_factory=dict)
    filters: Sequence[Mapping[str, Any]] = ()
    elements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.graph, str) or "/" in self.graph:
            raise ValueError(f"graph: expected the name of a file in the config folder, got {self.graph!r}")
        parts = {"channel": self.channel, "filters": list(self.filters), "elements": self.elements}
        for name, part in parts.items():
            try:
                json.dumps(part)
            except (TypeError, ValueError) as e:
                raise ValueError(f"{name}: cannot be written as JSON: {e}") from e
