"""From a sample's graph to a task's own: sinks, overrides, ids and paths, without touching the sample.

Every function returns new objects; only ``write_graphs`` writes, and only into the folder it is given. The usual order
is ``apply_overrides``, ``add_sinks``, ``absolutise`` (which also reaches what ``add_sinks`` appended), ``renumber``,
``write_graphs``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from streamserver.core.errors import GraphError
from streamserver.core.files import write_json
from streamserver.graph.check import require_ok
from streamserver.graph.fields import show
from streamserver.graph.model import DETECTORS, RawElement, RawGraph
from streamserver.graph.read import resolve

ALL_DETECTORS = "*detector"
"""The override key that reaches every element of ``DETECTORS``."""

_TRACKER = "bytetrack"
_LIBRARIES = PurePosixPath("../../build/lib")
_TLS_KEYS = frozenset({"scheme", "cert", "key", "cacert", "verify"})
_MAX_ID = 2**31 - 1
_SINK_PORTS = {"output": [{"port_id": 0, "is_sink": True, "is_src": False}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """Where ``http_push`` posts results: ``http://{ip}:{port}{path}``.

    Attributes:
        extra: more keys of the element's ``configure``, e.g. ``{"pictures": "on_demand"}``.
    """

    ip: str
    port: int
    path: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The keys of ``configure``."""
        extra: dict[str, Any] = _plain(self.extra)
        return {"ip": self.ip, "port": self.port, "path": self.path, **extra}


def add_sinks(raw: RawGraph, *, filters: Sequence[Mapping[str, Any]], channel_id: int, push: PushTarget) -> RawGraph:
    """The graph with its results filtered and posted.

    Where the graph has an ``http_push``, it is pointed at ``push``. Otherwise one is appended that every sink feeds,
    and becomes the only sink; osd, encode and the like stay in front of it, for they pass frames on. So a graph with
    several sources and sinks (stitched pictures) posts the results of each of its branches, told apart by their
    channel.

    With ``filters``, the nearest ``filter`` in front of each ``http_push`` gets them as its rule for ``channel_id``;
    where there is none, one is put directly in front. Rules for other channels stay. Without ``filters``, no filter is
    added and one that is there keeps its rules.

    Raises:
        GraphError: the graph fails ``check``, or a filter that is there has no usable ``rules``.
    """
    require_ok(raw)
    graph = _retarget(raw, push) if _named(raw, "http_push") else _append_push(raw, push)
    if filters:
        for element in _named(graph, "http_push"):
            graph = _filter_before(graph, element.element_id, channel_id=channel_id, filters=filters)
    return graph


def apply_overrides(raw: RawGraph, elements: Mapping[str, Mapping[str, Any]]) -> RawGraph:
    """The graph with keys of ``configure`` changed.

    Args:
        raw: the graph.
        elements: changes by element name without ``_group``; each reaches all elements of this name, so every part of
            a triple. ``*detector`` reaches every detector and may find none; a name wins over it.

    Raises:
        GraphError: the graph has no element of a name.
    """
    names = {element.name for element in raw.elements}
    for name in elements:
        if name != ALL_DETECTORS and name not in names:
            raise raw.error(
                f"no element '{name}' to change, as the sample's build_config asks",
                cure=f"drop it from the elements there, or use one of {', '.join(sorted(names))}",
            )

    def change(element: RawElement) -> RawElement:
        general = elements.get(ALL_DETECTORS, {}) if element.name in DETECTORS else {}
        changes = {**general, **elements.get(element.name, {})}
        return _configured(element, {**element.configure, **changes}) if changes else element

    return _mapped(raw, change)


def overrides_that_fit(raw: RawGraph, elements: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """``elements`` without those that the graph does not have, for graphs that come from elsewhere.

    A tracker that is not there cannot hold weak detections back, so the detectors get its ``track_thresh``.
    """
    names = {ALL_DETECTORS, *(element.name for element in raw.elements)}
    fitting = {name: changes for name, changes in elements.items() if name in names}
    least = elements.get(_TRACKER, {}).get("track_thresh")
    if _TRACKER not in names and least is not None:
        fitting[ALL_DETECTORS] = {**fitting.get(ALL_DETECTORS, {}), "threshold_conf": least}
    return fitting


def renumber(raw: RawGraph, graph_id: int) -> RawGraph:
    """The graph under another id."""
    return replace(raw, data={**raw.data, "graph_id": graph_id})


def absolutise(raw: RawGraph, base_dir: Path) -> RawGraph:
    """The graph with every text in its element files that begins with ``./`` or ``../`` made absolute.

    So models, class names and shared objects are found from any working directory.

    Args:
        raw: the graph.
        base_dir: the working directory that the paths were written for; see ``read.sample_base_dir``.
    """
    return _mapped(raw, lambda element: replace(element, config=_absolute(element.config, base_dir)))


def write_graphs(graphs: Sequence[RawGraph], folder: Path) -> Path:
    """Writes ``engine.json`` and ``elements/<graph_id>_<element_id>_<name>.json`` into ``folder``; returns the former.

    ``read_graphs(path, folder)`` gives equal graphs but for the element files' names. The element files come first, so
    that ``engine.json`` never names one that is not there; other files in ``elements/`` go last.

    Raises:
        GraphError: two graphs have the same id.
    """
    ids = [graph.graph_id for graph in graphs]
    for graph in graphs:
        if ids.count(graph.graph_id) > 1:
            raise graph.error("graph_id is there twice", cure="renumber the graphs")
    (folder / "elements").mkdir(parents=True, exist_ok=True)
    content = []
    for graph in graphs:
        files = [_element_file(graph, element) for element in graph.elements]
        for file, element in zip(files, graph.elements, strict=True):
            write_json(folder / file, element.config, indent=2)
        entries = [{**e.entry, "element_config": file} for file, e in zip(files, graph.elements, strict=True)]
        content.append({**graph.data, "elements": entries, "connections": list(graph.connections)})
    path = folder / "engine.json"
    write_json(path, content, indent=2)
    named = {folder / entry["element_config"] for graph in content for entry in graph["elements"]}
    for old in (folder / "elements").iterdir():
        if old not in named:
            old.unlink()
    return path


def _element_file(graph: RawGraph, element: RawElement) -> str:
    name = re.sub(r"\W", "_", str(element.config["name"]), flags=re.ASCII)
    return f"elements/{graph.graph_id}_{element.element_id}_{name}.json"


def _named(graph: RawGraph, name: str) -> list[RawElement]:
    return [element for element in graph.elements if element.name == name]


def _mapped(graph: RawGraph, change: Callable[[RawElement], RawElement]) -> RawGraph:
    return replace(graph, elements=tuple(change(element) for element in graph.elements))


def _configured(element: RawElement, configure: Mapping[str, Any]) -> RawElement:
    return replace(element, config={**element.config, "configure": _plain(configure)})


def _retarget(graph: RawGraph, push: PushTarget) -> RawGraph:
    """Points every ``http_push`` at ``push``; the TLS keys of its old target go."""

    def change(element: RawElement) -> RawElement:
        if element.name != "http_push":
            return element
        kept = {key: value for key, value in element.configure.items() if key not in _TLS_KEYS}
        return _configured(element, {**kept, **push.to_json()})

    return _mapped(graph, change)


def _append_push(graph: RawGraph, push: PushTarget) -> RawGraph:
    feeders = [(element.element_id, _exit_port(element)) for element in graph.sinks]
    element = _new_element(graph, "http_push", push.to_json(), ports=_SINK_PORTS)
    connections = [_connection(src, port, element.element_id) for src, port in feeders]
    return replace(
        graph,
        elements=(*map(_without_sink, graph.elements), element),
        connections=(*graph.connections, *connections),
    )


def _filter_before(graph: RawGraph, push_id: int, *, channel_id: int, filters: Sequence[Mapping[str, Any]]) -> RawGraph:
    rule = {"channel_id": channel_id, "filters": _plain(filters)}
    found = _nearest_filters(graph, push_id)
    if found:
        return _mapped(graph, lambda e: _with_rule(graph, e, rule) if e.element_id in found else e)
    return _insert_before(graph, push_id, _new_element(graph, "filter", {"rules": [rule]}))


def _nearest_filters(graph: RawGraph, push_id: int) -> set[int]:
    """The ids of the filters that frames pass last on their ways to ``push_id``."""
    filters = {element.element_id for element in _named(graph, "filter")}
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [push_id]
    while waiting:
        current = waiting.pop()
        if current in filters:
            found.add(current)
        elif current not in seen:
            seen.add(current)
            waiting += [edge.src for edge in graph.edges if edge.dst == current]
    return found


def _with_rule(graph: RawGraph, element: RawElement, rule: Mapping[str, Any]) -> RawElement:
    """The filter element with ``rule`` in the place of all rules for its channel."""
    rules = element.configure.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(old, dict) for old in rules):
        raise GraphError(
            f"{element.file}: element {element.element_id} 'filter': rules: expected an array of objects, got "
            f"{show(rules)}"
        )
    others = [old for old in rules if old.get("channel_id") != rule["channel_id"]]
    return _configured(element, {**element.configure, "rules": [*others, rule]})


def _insert_before(graph: RawGraph, next_id: int, element: RawElement) -> RawGraph:
    """Puts ``element`` where all connections to ``next_id`` meet: they lead to it, and it leads on."""
    redirected = [
        {**c, "dst_element_id": element.element_id, "dst_port": 0} if c["dst_element_id"] == next_id else c
        for c in graph.connections
    ]
    elements = list(graph.elements)
    elements.insert(next(i for i, e in enumerate(elements) if e.element_id == next_id), element)
    connections = (*redirected, _connection(element.element_id, 0, next_id))
    return replace(graph, elements=tuple(elements), connections=connections)


def _new_element(
    graph: RawGraph, name: str, configure: dict[str, Any], *, ports: dict[str, Any] | None = None
) -> RawElement:
    entry: dict[str, Any] = {"element_id": _free_id(graph), "element_config": f"{name}.json"}
    if ports:
        entry["ports"] = ports
    config = {
        "configure": configure,
        "shared_object": _library(graph, name),
        "name": name,
        "side": "sophgo",
        "thread_number": 1,
    }
    return RawElement(entry, config, f"{graph.file}: {name}.json")


def _free_id(graph: RawGraph) -> int:
    """An id beyond the outer ones that is no inner one either."""
    outer = [element.element_id for element in graph.elements]
    taken = {i for element in graph.elements for i in (element.element_id, *element.inner_ids)}
    candidates = itertools.chain(range(max(outer) + 1, _MAX_ID + 1), itertools.count(1))
    return next(i for i in candidates if i not in taken)


def _library(graph: RawGraph, name: str) -> str:
    """The shared object of an element of sophon-stream, beside those that the graph uses already."""
    used = [element.config.get("shared_object") for element in graph.elements]
    folders = [PurePosixPath(text).parent for text in used if isinstance(text, str) and text]
    return str((folders or [_LIBRARIES])[0] / f"lib{name}.so")


def _exit_port(element: RawElement) -> int:
    """The output port that an element forwards frames by: 0, but for a distributor's own choice."""
    port = element.configure.get("default_port", 0) if element.name == "distributor" else 0
    return port if type(port) is int else 0


def _without_sink(element: RawElement) -> RawElement:
    """The element forwarding instead of delivering; its input ports stay as they are."""
    if not element.sink_ports:
        return element
    ports = dict(element.entry["ports"])
    ports["output"] = [port for port in ports["output"] if not port["is_sink"]]
    entry = {**element.entry, "ports": {side: value for side, value in ports.items() if value or side != "output"}}
    if not entry["ports"]:
        del entry["ports"]
    return replace(element, entry=entry)


def _connection(src: int, src_port: int, dst: int) -> dict[str, int]:
    return {"src_element_id": src, "src_port": src_port, "dst_element_id": dst, "dst_port": 0}


def _absolute(value: Any, base_dir: Path) -> Any:
    if isinstance(value, str):
        return str(resolve(base_dir, value)) if value.startswith(("./", "../")) else value
    if isinstance(value, Mapping):
        return {key: _absolute(item, base_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, base_dir) for item in value]
    return value


def _plain(value: Any) -> Any:
    """A deep copy in dicts and lists only, whatever mappings and sequences ``value`` is made of."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
