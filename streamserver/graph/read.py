"""Graph files and the element files that they name, read without losing a key (CONTRACT 2.1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from streamserver.core.errors import GraphError
from streamserver.graph.fields import Fields, load_json
from streamserver.graph.model import RawElement, RawGraph

_CONNECTION_KEYS = ("src_element_id", "src_port", "dst_element_id", "dst_port")
_GRAPH_LISTS = frozenset({"elements", "connections"})

Report = Callable[[GraphError], None]
"""Told of each error; raises it, or remembers it."""


def read_graphs(engine_path: Path, base_dir: Path) -> list[RawGraph]:
    """All graphs of a graph file, with the element files they name.

    Args:
        engine_path: the graph file.
        base_dir: what ``element_config`` paths are relative to: the working directory of the process that will run the
            graphs. It need not exist when the paths leave it at once (``../tripwire/config/decode.json``).

    Raises:
        GraphError: a file is absent or not JSON, a key is missing or wrong, or a graph_id is there twice; names file,
            element and key. How the graph hangs together is looked at by ``check``.
    """
    return _read(engine_path, lambda text: resolve(base_dir, text))


def read_sample(config_dir: Path, graph: str = "engine_group.json") -> list[RawGraph]:
    """The graphs of a sample's own config folder, e.g. ``samples/tripwire/config``; otherwise as ``read_graphs``."""
    path = config_dir / graph
    if not exists(path):
        cure = "give the graph file this name, or say GraphOverrides(graph=…) in the sample's build_config"
        raise GraphError(f"{path}: not found", cure=cure)
    return _read(path, lambda text: sample_file(config_dir, text))


def survey_graphs(
    engine_path: Path, find: Callable[[str], Path]
) -> tuple[list[tuple[RawGraph, bool]], list[GraphError]]:
    """What can be made out of a graph file, and everything that is wrong with what its keys say.

    Args:
        engine_path: the graph file.
        find: the file that is meant by an ``element_config``.

    Returns:
        The graphs, each with whether all of its elements and connections are there; an element whose own file cannot be
        used has no name. And one error for each element, connection or file at fault.
    """
    errors: list[GraphError] = []
    try:
        return _survey(engine_path, find, errors.append), errors
    except GraphError as e:
        return [], [*errors, e]


def sample_base_dir(config_dir: Path) -> Path:
    """The working directory for which a sample's paths are written: ``samples/build`` beside it; it may not exist."""
    return Path(os.path.normpath(config_dir.absolute())).parents[1] / "build"


def sample_file(config_dir: Path, text: str) -> Path:
    """The file that a sample means by ``text``, e.g. ``../tripwire/config/decode.json``.

    A copy of a sample under another folder name still finds its own files, though they are called by the old name.
    """
    path = resolve(sample_base_dir(config_dir), text)
    parts = PurePosixPath(text).parts
    if len(parts) == 4 and parts[0] == ".." and parts[2] == "config" and not exists(path):
        own = config_dir / parts[3]
        return own if exists(own) else path
    return path


def resolve(base_dir: Path, text: str) -> Path:
    """``text`` as an absolute path: relative to ``base_dir``, which need not exist, and without ``..``."""
    return Path(os.path.normpath(base_dir.resolve() / text))


def exists(path: Path) -> bool:
    """``Path.exists``, with a name that no file can have as one that does not exist."""
    try:
        return path.exists()
    except OSError:
        return False


def _read(engine_path: Path, find: Callable[[str], Path]) -> list[RawGraph]:
    """As ``read_graphs``; the first error is raised."""
    return [graph for graph, _ in _survey(engine_path, find, _raise)]


def _survey(engine_path: Path, find: Callable[[str], Path], report: Report) -> list[tuple[RawGraph, bool]]:
    """All graphs that can be made out, with whether all of their keys could be read."""
    if not exists(engine_path):
        raise GraphError(
            f"{engine_path}: not found",
            cure="correct engine_config_path of the demo file; relative paths count from where the engine is started "
            "(samples/build for sophon-stream's samples), or from --base_dir",
        )
    content = load_json(engine_path)
    if not isinstance(content, list) or not content:
        raise GraphError(f"{engine_path}: expected an array with at least one graph")
    graphs: dict[int, tuple[RawGraph, bool]] = {}
    for index, value in enumerate(content):
        try:
            graph, whole = _read_graph(value, index, engine_path, find, report)
        except GraphError as e:
            report(e)
            continue
        if graph.graph_id in graphs:
            report(graph.error("graph_id is there twice", cure="give each graph its own"))
        graphs.setdefault(graph.graph_id, (graph, whole))
    return list(graphs.values())


def _read_graph(
    value: Any, index: int, file: Path, find: Callable[[str], Path], report: Report
) -> tuple[RawGraph, bool]:
    graph_id = Fields(value, where=f"{file}: [{index}]").integer("graph_id")
    where = f"{file}: graph {graph_id}"
    fields = Fields(value, where=where)
    fields.integer("device_id", 0)
    elements, connections = fields.items("elements"), fields.items("connections")
    read = [_read_element(item, f"{where}: elements[{i}]", find, report) for i, item in enumerate(elements)]
    good = [item for i, item in enumerate(connections) if _is_connection(item, f"{where}: connections[{i}]", report)]
    data = {"device_id": 0, **fields.others(_GRAPH_LISTS)}
    graph = RawGraph(data, tuple(element for element in read if element), tuple(good), str(file))
    return graph, len(graph.elements) == len(elements) and len(good) == len(connections)


def _is_connection(value: Any, where: str, report: Report) -> bool:
    try:
        connection = Fields(value, where=where)
        for key in _CONNECTION_KEYS:
            connection.integer(key, low=None if key.endswith("_id") else 0)
    except GraphError as e:
        report(e)
        return False
    return True


def _read_element(value: Any, place: str, find: Callable[[str], Path], report: Report) -> RawElement | None:
    """The element; without a name if only its own file is at fault, and none at all if its entry is."""
    try:
        element_id = Fields(value, where=place).integer("element_id")
        fields = Fields(value, where=f"{place}: element {element_id}")
        _check_ports(fields)
        path = find(fields.text("element_config"))
    except GraphError as e:
        report(e)
        return None
    try:
        return RawElement(value, _read_config(path, fields.where, element_id), str(path))
    except GraphError as e:
        report(e)
        return RawElement(value, {"name": ""}, str(path))


def _read_config(path: Path, place: str, element_id: int) -> Any:
    try:
        config = load_json(path)
    except GraphError as e:
        raise GraphError(f"{place}: element_config: {e.message}") from e
    _check_config(config, f"{path}: element {element_id}")
    return config


def _raise(error: GraphError) -> None:
    raise error


def _check_ports(fields: Fields) -> None:
    """Checks what a port must say: whether it is a source or sink and, if so, its number."""
    ports = Fields(fields.mapping("ports", {}), where=f"{fields.where}: ports")
    for side, flag in (("input", "is_src"), ("output", "is_sink")):
        for index, item in enumerate(ports.items(side, [])):
            port = Fields(item, where=f"{ports.where}.{side}[{index}]")
            if port.boolean(flag):
                port.integer("port_id")


def _check_config(config: Any, where: str) -> None:
    fields = Fields(config, where=where)
    name = fields.text("name")
    named = Fields(config, where=f"{where} '{name}'")
    named.mapping("configure", {})
    named.integer("thread_number", 1, low=1)
