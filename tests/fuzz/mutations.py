"""Graphs and element files spoilt at random: a seed always gives the same damage."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Files = Mapping[str, Any]
"""A task's folder: the parsed content of each JSON file by its name."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 0.5, -0.0, 1e308, -1e308, 1e-308, 2**31, 2**63, -(2**63), 10**30,
    "", " ", "0", "-1", "x" * 300, "\0", "☃" * 70, "../nowhere", "nowhere.onnx", ".", "%s%n{}", "\ud800",
    [], [[]], [None], [0] * 5, [1, 2, 3], [1e308] * 3, [-1, -1, -1], [0, 0, 0], ["a", "b"],
    {}, {"a": {}}, {"person": 0.5}, {"left": 0, "top": 0, "width": 10**9, "height": -1}, {"left": 1},
)  # fmt: skip
"""What a value is replaced by: other types, extremes, garbage. Nothing that a name server would be asked about."""

NAMES = ("dwa", "blend", "yolox", "yolov5_group", "osd", "converger", "distributor", "decode", "http_push", "nonsense")

_Change = Callable[[random.Random, dict[str, Any]], None]


def mutate(files: Files, seed: int) -> dict[str, bytes]:
    """The files with one to three changes, as they are written to disk."""
    rng = random.Random(seed)
    spoilt: dict[str, Any] = pickle.loads(pickle.dumps(dict(files)))  # several times faster than copy.deepcopy
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_CHANGES)(rng, spoilt)
    written = {name: json.dumps(content).encode() for name, content in spoilt.items()}
    if rng.random() < 0.08:
        name = rng.choice(sorted(written))
        written[name] = rng.choice(_TEXT_CHANGES)(rng, written[name])
    return written


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys, outermost first."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _anywhere(rng: random.Random, files: dict[str, Any]) -> tuple[Any, Any]:
    """A place in one of the files; the graph file and files with long lists of classes come no oftener than others."""
    name = rng.choice(sorted(files))
    places = list(_places(files[name]))
    return rng.choice(places) if places else (files, name)


def _replace(rng: random.Random, files: dict[str, Any]) -> None:
    container, key = _anywhere(rng, files)
    container[key] = copy.deepcopy(rng.choice(VALUES))


def _drop(rng: random.Random, files: dict[str, Any]) -> None:
    container, key = _anywhere(rng, files)
    if container is not files:
        del container[key]


def _double(rng: random.Random, files: dict[str, Any]) -> None:
    container, key = _anywhere(rng, files)
    if isinstance(container, list):
        container.append(copy.deepcopy(container[key]))


def _wrap(rng: random.Random, files: dict[str, Any]) -> None:
    container, key = _anywhere(rng, files)
    container[key] = rng.choice(([container[key]], {"value": container[key]}, str(container[key])))


def _rename_key(rng: random.Random, files: dict[str, Any]) -> None:
    container, key = _anywhere(rng, files)
    if isinstance(container, dict) and container is not files:
        container[key[:-1] + "ß"] = container.pop(key)


def _graph(rng: random.Random, files: dict[str, Any]) -> dict[str, Any] | None:
    """One graph, unless an earlier change has spoilt its form."""
    content = files.get("engine.json")
    graphs = [g for g in content if isinstance(g, dict)] if isinstance(content, list) else []
    graphs = [g for g in graphs if isinstance(g.get("elements"), list) and isinstance(g.get("connections"), list)]
    return rng.choice(graphs) if graphs else None


def _ids(graph: dict[str, Any]) -> list[int]:
    entries = [entry for entry in graph["elements"] if isinstance(entry, dict)]
    inner = [entry.get("inner_elements_id") for entry in entries]
    ids = [entry.get("element_id") for entry in entries] + [i for own in inner if isinstance(own, list) for i in own]
    return [i for i in ids if type(i) is int] or [0]


def _clash(rng: random.Random, files: dict[str, Any]) -> None:
    """Gives an element, or one inside a group, an id that is taken."""
    graph = _graph(rng, files)
    entries = [entry for entry in graph["elements"] if isinstance(entry, dict)] if graph else []
    if graph and entries:
        entry = rng.choice(entries)
        inner = entry.get("inner_elements_id")
        if isinstance(inner, list) and inner and rng.random() < 0.5:
            inner[rng.randrange(len(inner))] = rng.choice(_ids(graph))
        else:
            entry["element_id"] = rng.choice(_ids(graph))


def _connect(rng: random.Random, files: dict[str, Any]) -> None:
    """One more connection between any two elements, or from or to none: circles, second uses of a port, dead ends."""
    graph = _graph(rng, files)
    if graph:
        ids = [*_ids(graph), 99999]
        ports = (0, 0, 0, 1, 2, 7, -1)
        graph["connections"].append(
            {
                "src_element_id": rng.choice(ids),
                "src_port": rng.choice(ports),
                "dst_element_id": rng.choice(ids),
                "dst_port": rng.choice(ports),
            }
        )


def _redirect(rng: random.Random, files: dict[str, Any]) -> None:
    graph = _graph(rng, files)
    connections = [c for c in graph["connections"] if isinstance(c, dict)] if graph else []
    if graph and connections:
        connection = rng.choice(connections)
        key = rng.choice(("src_element_id", "dst_element_id", "src_port", "dst_port"))
        connection[key] = rng.choice(_ids(graph)) if key.endswith("_id") else rng.choice((0, 1, 2, 3, -1))


def _cut(rng: random.Random, files: dict[str, Any]) -> None:
    graph = _graph(rng, files)
    if graph and graph["connections"]:
        graph["connections"].pop(rng.randrange(len(graph["connections"])))


def _ports(rng: random.Random, files: dict[str, Any]) -> None:
    """Makes an element a source, a sink, both or neither."""
    graph = _graph(rng, files)
    entries = [entry for entry in graph["elements"] if isinstance(entry, dict)] if graph else []
    if entries:
        rng.choice(entries)["ports"] = {
            "input": [{"port_id": rng.choice((0, 0, 1)), "is_src": rng.random() < 0.5, "is_sink": False}],
            "output": [{"port_id": rng.choice((0, 0, 1)), "is_src": False, "is_sink": rng.random() < 0.5}],
        }


def _element(rng: random.Random, files: dict[str, Any]) -> None:
    """Another name, other stages, another number of threads, another element's file."""
    names = [name for name, content in files.items() if name.startswith("elements/") and isinstance(content, dict)]
    if not names:
        return
    content = files[rng.choice(names)]
    key = rng.choice(("name", "stage", "thread_number", "file"))
    if key == "name":
        content["name"] = rng.choice(NAMES)
    elif key == "stage" and isinstance(content.get("configure"), dict):
        content["configure"]["stage"] = rng.choice((["pre"], ["infer"], ["post"], ["pre", "infer", "post"], [], ["x"]))
    elif key == "thread_number":
        content["thread_number"] = rng.choice((0, -3, 2, 7, 10**9, 1.5, "4"))
    else:
        files[rng.choice(names)] = copy.deepcopy(content)


def _truncate(rng: random.Random, text: bytes) -> bytes:
    return text[: rng.randrange(len(text))]


def _insert(rng: random.Random, text: bytes) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice((b"NaN", b"\xff\xfe", b"[" * 3000, b"1e999", b"9" * 5000, b"\0", b"}")) + text[at:]


def _nonsense(rng: random.Random, text: bytes) -> bytes:
    return rng.choice((b"", b"null", b"[" * 100_000, b"\xef\xbb\xbf" + text, text.replace(b"0", b"NaN"), b"-" + text))


def _bigger(rng: random.Random, text: bytes) -> bytes:
    """Numbers that no type holds in the place of a small one."""
    return text.replace(b": 1", rng.choice((b": 1e400", b": -1e400", b": " + b"1" * 400)), 1)


_CHANGES: tuple[_Change, ...] = (
    *(_replace,) * 6,
    *(_drop,) * 4,
    *(_double, _wrap, _rename_key, _clash, _clash, _connect, _connect, _redirect, _cut, _ports, _element, _element),
)
_TEXT_CHANGES = (_truncate, _insert, _nonsense, _bigger)
