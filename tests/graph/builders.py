"""Small graphs, written as files and read back, so that tests see what users' files become."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from streamserver.graph.model import RawGraph
from streamserver.graph.read import read_graphs

Element = tuple[dict[str, Any], dict[str, Any]]
"""An entry of ``elements`` and the content of its file."""


def element(
    element_id: int,
    name: str,
    *,
    source: bool = False,
    sink: bool = False,
    inner: list[Any] | None = None,
    configure: dict[str, Any] | None = None,
    threads: int = 1,
) -> Element:
    entry: dict[str, Any] = {"element_id": element_id}
    ports = {}
    if source:
        ports["input"] = [{"port_id": 0, "is_src": True, "is_sink": False}]
    if sink:
        ports["output"] = [{"port_id": 0, "is_src": False, "is_sink": True}]
    if ports:
        entry["ports"] = ports
    if inner is not None:
        entry["inner_elements_id"] = inner
    return entry, {"name": name, "configure": configure or {}, "thread_number": threads}


def staged(element_id: int, *stages: str, name: str = "yolox", sink: bool = False, **configure: Any) -> Element:
    return element(element_id, name, sink=sink, configure={"stage": list(stages), **configure})


def decode(element_id: int = 1) -> Element:
    return element(element_id, "decode", source=True)


def connection(src: int, dst: int, *, src_port: int = 0, dst_port: int = 0) -> dict[str, int]:
    return {"src_element_id": src, "src_port": src_port, "dst_element_id": dst, "dst_port": dst_port}


def chain(*ids: int) -> list[dict[str, int]]:
    return [connection(src, dst) for src, dst in itertools.pairwise(ids)]


def write(folder: Path, elements: Iterable[Element], connections: list[dict[str, int]]) -> Path:
    entries = []
    for index, (entry, config) in enumerate(elements):
        (folder / f"e{index}.json").write_text(json.dumps(config))
        entries.append({**entry, "element_config": f"e{index}.json"})
    graph = {"graph_id": 0, "device_id": 0, "elements": entries, "connections": connections}
    path = folder / "engine.json"
    path.write_text(json.dumps([graph]))
    return path


def build(folder: Path, elements: Iterable[Element], connections: list[dict[str, int]]) -> RawGraph:
    return read_graphs(write(folder, elements, connections), folder)[0]


def ids(graph: RawGraph) -> list[int]:
    return [item.element_id for item in graph.elements]


def edges(graph: RawGraph) -> set[tuple[int, int]]:
    return {(edge.src, edge.dst) for edge in graph.edges}


def named(graph: RawGraph, name: str) -> list[Any]:
    return [item for item in graph.elements if item.name == name]
