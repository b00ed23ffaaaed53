"""From a task's request to its demo file and graphs, as values: nothing of the task is written here.

Each algorithm of the request becomes one channel and one graph, numbered by its position. All channels read the same
source in the same way, so that our engine decodes it once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from streamserver import plugins
from streamserver.core.errors import BadRequestError, GraphError, UnknownAlgorithmError
from streamserver.core.extend_options import DEFAULT_GATE_HOLD_S, GATES, LEAST_GATE_HOLD_S, MAX_GATE_HOLD_S
from streamserver.core.secrets import register_request
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.core.urls import has_end, local_path, source_type
from streamserver.graph.check import require_channels_ok, require_ok
from streamserver.graph.demo import DEFAULT_FPS, DETECTOR_CHOICES, TRANSPORTS, Channel, Demo, HttpAddress, read_demo
from streamserver.graph.fields import Fields
from streamserver.graph.model import RawElement, RawGraph
from streamserver.graph.read import read_sample, sample_base_dir
from streamserver.graph.rewrite import PushTarget, absolutise, add_sinks, apply_overrides, overrides_that_fit, renumber
from streamserver.plugin_api import GraphOverrides
from streamserver.supervise.gate import gate_of
from streamserver.supervise.staging import read_staged, staged_sample

_PUSH_PATH = "/flask_test"
_PRIVATE_CONTROL = HttpAddress(ip="127.0.0.1", port=8000, path="/task/test")
"""Where a sophon-stream program takes commands; by itself it would listen on every interface."""

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not listened on  # nosec B104


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmEntry:
    """One entry of the request's ``Algorithm``, with the name that its ``Type`` has here."""

    index: int
    type: int
    name: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a task's folder will hold.

    Attributes:
        demo: the demo file.
        graphs: one an algorithm; ``graph_id`` is its position.
        algorithms: who is behind them.
        finite: the source has an end.
        replayable: the same frames come again, with the same numbers, after a restart.
    """

    demo: Demo
    graphs: tuple[RawGraph, ...]
    algorithms: tuple[AlgorithmEntry, ...]
    finite: bool
    replayable: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """What a sample makes of its algorithm: a channel and a graph, still under the sample's own numbers and paths."""

    channel: Mapping[str, Any]
    graph: RawGraph
    filters: tuple[Mapping[str, Any], ...]
    base_dir: Path


def plan(request: Mapping[str, Any], *, port: int, settings: Settings, project: Path = PROJECT_DIR) -> Plan:
    """What has to run for ``request``.

    Args:
        request: as accepted (``core.messages.canonical``).
        port: the client's port.
        settings: the server's settings; they say which engine runs.
        project: the folder with config_algorithm.py and samples/.

    Raises:
        BadRequestError: the request asks for something that does not exist or contradicts itself.
        SampleError: an algorithm is missing or broken.
        GraphError: its graph cannot run here.
    """
    register_request(request)
    algorithms = algorithms_of(request, plugins.known_types(project=project))
    address = local_path(_address(request))
    data = _with_address(request, address)
    parts = [_part(entry, data, port, settings, project) for entry in algorithms]
    demo = _demo(_channels(parts, request, address, settings), request, port, settings)
    graphs = tuple(_graph(part, i, port, settings) for i, part in enumerate(parts))
    foreign = settings.engine_binary is not None
    for entry, graph in zip(algorithms, graphs, strict=True):
        if foreign:
            _require_bmodels(entry, graph, settings)
        else:
            _require_elements(entry, graph)
        require_ok(graph, available=None if foreign else our_elements())
    require_channels_ok(demo.channels, graphs, file=f"task {request['TaskID']!r}")
    # A sophon-stream program does not say which loop a frame belongs to.
    replayable = is_replayable(request) and (not foreign or demo.channels[0].loop_num == 1)
    return Plan(demo=demo, graphs=graphs, algorithms=algorithms, finite=is_finite(request), replayable=replayable)


def algorithms_of(request: Mapping[str, Any], known_types: Mapping[int, str]) -> tuple[AlgorithmEntry, ...]:
    """The algorithms of a request.

    Raises:
        UnknownAlgorithmError: a ``Type`` is not (or no longer) one of ``known_types``.
    """
    entries = []
    for index, algorithm in enumerate(request["Algorithm"]):
        number = algorithm["Type"]
        if number not in known_types:
            raise UnknownAlgorithmError(
                f"no algorithm has the number {number}",
                path=f"$.Algorithm[{index}].Type",
                cure=f"add it to map_type of config_algorithm.py, which has {sorted(known_types)}",
            )
        entries.append(AlgorithmEntry(index=index, type=number, name=known_types[number], request=algorithm))
    return tuple(entries)


def is_finite(request: Mapping[str, Any]) -> bool:
    """True for a source that ends by itself: a file, a folder of pictures, a recording of a GB28181 platform."""
    return has_end(_address(request))


def is_replayable(request: Mapping[str, Any]) -> bool:
    """True for a source whose frames come again, with the same numbers: a file, or a folder of pictures."""
    return source_type(_address(request)) == "VIDEO"


def push_host(settings: Settings) -> str:
    """The address under which an engine reaches its client."""
    return _WILDCARDS.get(settings.client_host, settings.client_host)


@cache
def our_elements() -> frozenset[str]:
    """The names of the elements that our engine has, found without importing them."""
    folder = PROJECT_DIR / "streamserver" / "elements"
    return frozenset(file.stem for file in folder.glob("[!_]*.py"))


def _address(request: Mapping[str, Any]) -> str:
    return str(request["InputSrc"]["StreamSrc"]["Address"])


def _with_address(request: Mapping[str, Any], address: str) -> dict[str, Any]:
    """A copy for samples to do with as they like; old ones know no ``file://``."""
    data = copy.deepcopy(dict(request))
    data["InputSrc"]["StreamSrc"]["Address"] = address
    return data


def _part(entry: AlgorithmEntry, data: dict[str, Any], port: int, settings: Settings, project: Path) -> _Part:
    """Asks the sample for its graph; it works on a copy of its folder, which old ones edit in place."""
    config_dir = plugins.config_dir(entry.name, settings, project=project)
    base_dir = sample_base_dir(config_dir)
    if settings.engine_binary is not None:
        base_dir = Path(settings.stream_path).absolute() / "samples" / "build"
    with staged_sample(config_dir, entry.name) as stage:
        answer = plugins.build(
            entry.name, stream_path=str(stage.root), data=data, port=port, index=entry.index, project=project
        )
        if not isinstance(answer, GraphOverrides):
            staged = read_staged(stage, answer)
            return _Part(staged.channel, staged.graph, staged.filters, base_dir)
    sample_channel = _sample_demo(config_dir, entry.name).channels[0]
    graphs = {graph.graph_id: graph for graph in read_sample(config_dir, answer.graph)}
    graph = graphs.get(sample_channel.graph_id, next(iter(graphs.values())))
    foreign = settings.engine_binary is not None  # its tree's graphs need not have the elements of ours
    graph = apply_overrides(graph, overrides_that_fit(graph, answer.elements) if foreign else answer.elements)
    return _Part({**sample_channel.to_json(), **answer.channel}, graph, tuple(answer.filters), base_dir)


def _sample_demo(config_dir: Path, name: str) -> Demo:
    """The demo file of a sample, which is called like the sample."""
    path = config_dir / f"{name}_demo.json"
    others = [] if path.exists() else sorted(file.name for file in config_dir.glob("*_demo.json"))
    if others:
        raise GraphError(f"{path}: not found", cure=f"rename {' or '.join(others)}, which is there, to {path.name}")
    return read_demo(path)


def _graph(part: _Part, index: int, port: int, settings: Settings) -> RawGraph:
    """The graph as number ``index`` of the task: posting to the client, its rules under the channel's new number."""
    push = PushTarget(
        ip=push_host(settings),
        port=port,
        path=f"{_PUSH_PATH}/{index}",
        extra={"pictures": "on_demand"} if settings.engine_binary is None else {},
    )
    graph = _rules_moved(part.graph, int(part.channel["channel_id"]), index)
    graph = add_sinks(graph, filters=part.filters, channel_id=index, push=push)
    return renumber(absolutise(graph, part.base_dir), index)


def _require_elements(entry: AlgorithmEntry, graph: RawGraph) -> None:
    missing = sorted({element.name for element in graph.elements} - our_elements())
    if missing:
        raise GraphError(
            f"$.Algorithm[{entry.index}].Type: algorithm {entry.type} '{entry.name}' needs the elements "
            f"{', '.join(missing)}, which this engine does not have",
            cure="choose another algorithm, or set stream_path to a sophon-stream tree that is built",
        )


def _require_bmodels(entry: AlgorithmEntry, graph: RawGraph, settings: Settings) -> None:
    for element in graph.elements:
        model = str(element.configure.get("model_path", ""))
        if model.endswith(".onnx"):
            raise GraphError(
                f"$.Algorithm[{entry.index}].Type: algorithm {entry.type} '{entry.name}' names '{model}', which the "
                f"sophon-stream program in {settings.stream_path} cannot load",
                cure=f"put a graph with .bmodel files into {settings.stream_path}/samples/{entry.name}/config",
            )


def _rules_moved(graph: RawGraph, old_id: int, new_id: int) -> RawGraph:
    """The graph with the filter rules of channel ``old_id`` under ``new_id``."""

    def move(rule: Any) -> Any:
        fitting = isinstance(rule, Mapping) and rule.get("channel_id") == old_id
        return {**rule, "channel_id": new_id} if fitting else rule

    def change(element: RawElement) -> RawElement:
        rules = element.configure.get("rules")
        if element.name != "filter" or not isinstance(rules, list):
            return element
        configure = {**element.configure, "rules": [move(rule) for rule in rules]}
        return replace(element, config={**element.config, "configure": configure})

    return replace(graph, elements=tuple(change(element) for element in graph.elements))


def _channels(
    parts: Sequence[_Part], request: Mapping[str, Any], address: str, settings: Settings
) -> tuple[Channel, ...]:
    """One channel a part; address, loops and pace are the task's, so that all can share one reader."""
    kind = source_type(address)
    if kind == "VIDEO" and Path(address).is_dir():
        kind = "IMG_DIR"
    if kind == "HTTP" and settings.engine_binary is not None:
        kind = "VIDEO"
    transport = option(request, "Transport", default="auto")
    gate = {}
    if option(request, "Gate", default="off") == "motion":
        gate = gate_of(request, kind, settings, hold_s=option(request, "GateHold", default=DEFAULT_GATE_HOLD_S))
    common = {
        **gate,
        "url": address,
        "source_type": kind,
        "loop_num": option(request, "Loop", default=1),
        "fps": option(request, "Fps", default=parts[0].channel.get("fps", DEFAULT_FPS)),
        "transport": "" if transport == "auto" else transport,
    }
    channels = []
    for index, part in enumerate(parts):
        interval = {"sample_interval": request["Algorithm"][index].get("DetectInterval", 1)}
        values = {**interval, **part.channel, **common, "channel_id": index, "graph_id": index}
        fields = Fields(values, where=f"task {request['TaskID']!r}: channel {index}")
        channels.append(Channel.from_fields(fields, default_id=index))
    return tuple(channels)


def _demo(channels: tuple[Channel, ...], request: Mapping[str, Any], port: int, settings: Settings) -> Demo:
    foreign = settings.engine_binary is not None
    return Demo(
        channels=channels,
        engine_config_path="engine.json",
        http_report=HttpAddress(ip=push_host(settings), port=port, path=f"{_PUSH_PATH}/0") if foreign else None,
        http_listen=_PRIVATE_CONTROL if foreign else None,
        detector=option(request, "Detector", default=settings.detector),
    )


def option(request: Mapping[str, Any], name: str, *, default: Any) -> Any:
    """A key of ``Extend`` that holds for the whole task: at the top of the request or in any of its algorithms.

    Raises:
        BadRequestError: it is there with a value that cannot be used.
    """
    for path, holder in _extends(request):
        if name in holder:
            usable, expected = _OPTIONS[name]
            if not usable(holder[name]):
                raise BadRequestError(f"got {holder[name]!r}", path=f"{path}.{name}", cure=f"use {expected}")
            return holder[name]
    return default


def _extends(request: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    places = [("$", request), *((f"$.Algorithm[{i}]", entry) for i, entry in enumerate(request["Algorithm"]))]
    for path, place in places:
        if isinstance(place.get("Extend"), Mapping):
            yield f"{path}.Extend", place["Extend"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OPTIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "Loop": (lambda v: _is_number(v) and isinstance(v, int) and v >= 0, "a whole number, 0 for ever"),
    "Fps": (lambda v: _is_number(v) and (v == -1 or 0 < v <= 1000), "frames a second, or -1 for as fast as it goes"),
    "Detector": (lambda v: isinstance(v, str) and v in DETECTOR_CHOICES, "auto, model or motion"),
    "Gate": (lambda v: v in GATES, "motion or off"),
    "GateHold": (
        lambda v: _is_number(v) and LEAST_GATE_HOLD_S <= v <= MAX_GATE_HOLD_S,
        f"seconds from {LEAST_GATE_HOLD_S:g} to {MAX_GATE_HOLD_S:g}",
    ),
    "Transport": (lambda v: isinstance(v, str) and v in TRANSPORTS and v != "", "tcp, udp or auto"),
}
